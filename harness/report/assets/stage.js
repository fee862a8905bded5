/*
 * The stage: panes laid over or beside each other, moved in step by pointer and wheel.
 * It draws what the viewer's state says and reports the pixel under the pointer.
 */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const MIN_WIDTH = 256; // CSS pixels: a port is never narrower for a small picture's sake

  /** Take over a `.stage`; `state` is {mode, map, split, onion, held, tile}, `tell(pixel)` hears the pointer. */
  harness.Stage = class {
    constructor(root, state, tell) {
      this.root = root;
      this.state = state;
      this.tell = tell;
      this.panes = [...root.querySelectorAll(".pane")].filter((pane) => pane.querySelector(".port"));
      this.view = new harness.View({ width: Number(root.dataset.width), height: Number(root.dataset.height) });
      this.crosses = this.panes.map((pane) => this.#prepare(pane));
      this.divider = this.pane("rerun").querySelector(".port").appendChild(harness.element("div", { className: "divider" }));
      root.classList.add("live");
      root.tabIndex = 0;
      root.setAttribute("role", "group");
      root.setAttribute("aria-label", `${this.panes.slice(0, 2).map((pane) => pane.querySelector("strong").textContent).join(" and ")}. Arrow keys pan; plus and minus zoom.`);
      this.#listen();
    }

    pane(name) {
      return this.panes.find((pane) => pane.dataset.image === name);
    }

    #prepare(pane) {
      const image = pane.querySelector("img");
      image.width = this.view.image.width;
      image.height = this.view.image.height;
      return pane.querySelector(".port").appendChild(harness.element("div", { className: "cross", hidden: true }));
    }

    /** Size the ports for the mode and the window; the scale returns to its start unless one was chosen. */
    layout(scale) {
      const { mode } = this.state;
      this.root.dataset.mode = mode;
      for (const pane of this.panes) {
        const { image } = pane.dataset;
        const isMap = !["preview", "rerun"].includes(image);
        pane.classList.toggle("off", isMap && image !== this.state.map);
      }
      const style = getComputedStyle(this.root);
      const columns = style.gridTemplateColumns.split(" ").length;
      const available = (this.root.clientWidth - (columns - 1) * parseFloat(style.columnGap || 0)) / columns;
      const { width, height } = this.view.image;
      const wish = Math.max(MIN_WIDTH, width * Math.max(1, scale ?? 1));
      const port = { width: Math.floor(Math.min(available, wish)) };
      port.height = Math.round(Math.min((port.width * height) / width, innerHeight * 0.74));
      this.view.port = port;
      this.root.style.setProperty("--port-width", `${port.width}px`);
      this.root.style.setProperty("--port-height", `${port.height}px`);
      this.view.zoom(scale ?? this.view.initial);
      this.draw();
    }

    /** Draw the view and the state. */
    draw() {
      const { scale, x, y, fit } = this.view;
      const { mode, split, onion, held, tile } = this.state;
      for (const pane of this.panes) {
        const layer = pane.querySelector(".layer");
        layer.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
        layer.classList.toggle("pixelated", scale >= 2);
      }
      const rerun = this.pane("rerun").querySelector(".port");
      rerun.style.clipPath = mode === "slider" ? `inset(0 0 0 ${split}%)` : "";
      rerun.style.opacity = mode === "onion" ? onion / 100 : "";
      rerun.style.visibility = mode === "blink" && !held ? "hidden" : "";
      this.divider.style.left = `${split}%`;
      this.root.style.setProperty("--scale", scale);
      this.root.classList.toggle("held", held);
      this.root.classList.toggle("no-tile", !tile);
      this.root.classList.toggle("pannable", scale > fit * 1.001);
    }

    #listen() {
      for (const pane of this.panes) {
        const port = pane.querySelector(".port");
        port.addEventListener("pointermove", (event) => this.#moved(port, event));
        port.addEventListener("pointerleave", () => this.#point(null));
        port.addEventListener("pointerdown", (event) => this.#pressed(port, event));
        port.addEventListener("wheel", (event) => this.#wheeled(port, event), { passive: false });
        port.addEventListener("dblclick", (event) => this.#zoomAt(port, event, this.view.step(1)));
      }
    }

    #place(port, event) {
      const box = port.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    }

    #pressed(port, event) {
      if (event.button !== 0) return;
      port.setPointerCapture(event.pointerId);
      if (this.state.mode === "slider" && !event.shiftKey) this.#slide(port, event);
    }

    #slide(port, event) {
      this.state.split = Math.min(100, Math.max(0, (100 * this.#place(port, event).x) / port.clientWidth));
      this.root.dispatchEvent(new Event("slid"));
      this.draw();
    }

    #moved(port, event) {
      if (event.buttons & 1) {
        if (this.state.mode === "slider" && !event.shiftKey) this.#slide(port, event);
        else this.view.pan(event.movementX, event.movementY);
        this.draw();
      }
      const { x, y } = this.#place(port, event);
      this.#point(this.view.pixel(x, y));
    }

    /** The wheel zooms with Ctrl or ⌘ alone, as a trackpad's pinch does; else it scrolls the page. */
    #wheeled(port, event) {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.#zoomAt(port, event, this.view.step(event.deltaY < 0 ? 1 : -1));
    }

    #zoomAt(port, event, scale) {
      const { x, y } = this.#place(port, event);
      this.view.zoom(scale, x, y);
      this.root.dispatchEvent(new Event("zoomed"));
      this.draw();
    }

    /** Mark the same pixel in every pane. */
    #point(pixel) {
      const { scale, x, y } = this.view;
      for (const cross of this.crosses) {
        cross.hidden = !pixel;
        if (!pixel) continue;
        const size = Math.max(scale, 7);
        const middle = { x: x + (pixel.x + 0.5) * scale, y: y + (pixel.y + 0.5) * scale };
        Object.assign(cross.style, { width: `${size}px`, height: `${size}px`, left: `${middle.x - size / 2}px`, top: `${middle.y - size / 2}px` });
      }
      this.tell(pixel);
    }
  };
})();
