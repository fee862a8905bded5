/*
 * The viewer of one case: modes, zoom and what is marked, with buttons, keys and the page's address.
 *
 *   ?mode=side|slider|onion|blink|map   &map=difference|ssim|lpips   &zoom=2   &raw=1   &tile=0
 */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const MODES = ["side", "slider", "onion", "blink", "map"];

  /** Make an article's pictures comparable; returns the keys that it answers to. */
  harness.startViewer = (article) => {
    const root = article.querySelector(".viewer");
    const controls = root?.querySelector(".controls");
    if (!controls) return [];

    const query = harness.query();
    const maps = [...controls.querySelectorAll("[data-map]")].map((button) => button.dataset.map);
    const state = {
      mode: MODES.includes(query.get("mode")) ? query.get("mode") : "side",
      map: maps.includes(query.get("map")) ? query.get("map") : maps[0],
      zoom: Number(query.get("zoom")) || null,
      raw: query.has("raw"),
      tile: query.get("tile") !== "0",
      split: 50,
      onion: 50,
      held: false,
    };
    const output = root.querySelector(".readout output");
    const stage = new harness.Stage(root.querySelector(".stage"), state, (pixel) => (output.textContent = read(pixel)));
    const amount = controls.querySelector(".amount");
    const range = amount.querySelector("input");
    const hold = controls.querySelector(".hold");
    const raw = controls.querySelector('[data-toggle="raw"]');

    /* The re-run: encoded as the preview is, which is what is scored, or as rendered. */
    const rerun = stage.pane("rerun");
    const title = rerun.querySelector("figcaption strong").textContent;
    const other = title[0].toLowerCase() + title.slice(1);
    const files = { raw: rerun.querySelector("img").src };
    const pair = harness.pixels?.[article.dataset.slug];
    files.matched = pair?.rerun ?? files.raw;
    raw.hidden = !pair;
    controls.querySelector('[data-toggle="tile"]').hidden = !tileOf(root);
    const read = harness.pixelReader(
      pair?.preview ?? stage.pane("preview").querySelector("img").src, files.matched);

    function refresh() {
      for (const button of controls.querySelectorAll("[data-mode]")) press(button, button.dataset.mode === state.mode);
      for (const button of controls.querySelectorAll("[data-map]")) press(button, button.dataset.map === state.map);
      press(raw, state.raw);
      press(controls.querySelector('[data-toggle="tile"]'), state.tile);
      rerun.querySelector("img").src = state.raw ? files.raw : files.matched;
      rerun.querySelector(".kind").textContent = state.raw || !pair ? rerunKind : "re-encoded";
      amount.hidden = !["slider", "onion"].includes(state.mode);
      amount.firstElementChild.textContent = state.mode === "onion" ? `${title}’s opacity` : "Divider";
      range.value = state.mode === "onion" ? state.onion : state.split;
      hold.hidden = state.mode !== "blink";
      controls.querySelector(".scale").textContent = `${Math.round(stage.view.scale * 100)} %`;
    }
    const rerunKind = rerun.querySelector(".kind").textContent;
    const press = (button, pressed) => button.setAttribute("aria-pressed", pressed);

    function changed() {
      harness.remember({
        mode: state.mode === "side" ? "" : state.mode,
        map: state.map === maps[0] ? "" : state.map,
        zoom: state.zoom ? String(Math.round(state.zoom * 1000) / 1000) : "",
        raw: state.raw ? "1" : "",
        tile: state.tile ? "" : "0",
      });
      refresh();
      dispatchEvent(new Event("viewed"));
    }

    const set = (changes) => {
      Object.assign(state, changes);
      stage.layout(state.zoom);
      changed();
    };
    const zoom = (scale) => set({ zoom: scale });
    const zooms = {
      in: () => zoom(stage.view.step(1)),
      out: () => zoom(stage.view.step(-1)),
      one: () => zoom(1),
      fit: () => zoom(stage.view.fit),
    };
    const pan = (x, y) => () => {
      stage.view.pan(x, y);
      stage.draw();
    };
    const showHeld = (held) => {
      if (state.held === held) return;
      state.held = held;
      stage.draw();
    };

    controls.addEventListener("click", ({ target }) => {
      const { mode, map, zoom: to, toggle } = target.closest("button")?.dataset ?? {};
      if (mode) set({ mode });
      if (map) set({ map });
      if (to) zooms[to]();
      if (toggle) set({ [toggle]: !state[toggle] });
    });
    range.addEventListener("input", () => {
      state[state.mode === "onion" ? "onion" : "split"] = Number(range.value);
      stage.draw();
    });
    stage.root.addEventListener("slid", () => (range.value = state.split));
    stage.root.addEventListener("zoomed", () => {
      state.zoom = stage.view.scale;
      changed();
    });
    for (const event of ["pointerdown", "pointerup", "pointerleave"]) {
      hold.addEventListener(event, () => showHeld(event === "pointerdown"));
    }
    const isHeldKey = (event) => event.key === " " || event.key === "Enter";
    hold.addEventListener("keydown", (event) => isHeldKey(event) && showHeld(true));
    hold.addEventListener("keyup", (event) => isHeldKey(event) && showHeld(false));
    new ResizeObserver(() => {
      if (!stage.root.isConnected) return;
      stage.layout(state.zoom);
      refresh();
    }).observe(stage.root.parentElement);

    controls.hidden = false;
    root.querySelector(".readout").hidden = false;
    stage.layout(state.zoom);
    refresh();

    const tile = tileOf(root);
    const onStage = (target) => stage.root.contains(target);
    return [
      { keys: ["1", "2", "3", "4", "5"], says: "side by side, slider, onion skin, blink, difference", down: (event) => set({ mode: MODES[event.key - 1] }) },
      { keys: ["b"], says: `hold to blink: preview, and the ${other} while held`, down: () => hidden(true), up: () => hidden(false) },
      { keys: ["m"], says: maps.length > 1 && "next map", down: () => set({ map: maps[(maps.indexOf(state.map) + 1) % maps.length] }) },
      { keys: ["+", "="], says: "zoom in", down: zooms.in },
      { keys: ["-"], says: "zoom out", down: zooms.out },
      { keys: ["0"], says: "one to one", down: zooms.one },
      { keys: ["f"], says: "fit", down: zooms.fit },
      { keys: ["z"], says: tile && "zoom to the worst tile", down: () => tile && showTile(tile) },
      { keys: ["t"], says: tile && "mark the worst tile", down: () => set({ tile: !state.tile }) },
      { keys: ["r"], says: pair && "re-run as rendered", down: () => pair && set({ raw: !state.raw }) },
      { keys: ["ArrowLeft"], inside: onStage, down: pan(40, 0) },
      { keys: ["ArrowRight"], inside: onStage, down: pan(-40, 0) },
      { keys: ["ArrowUp"], inside: onStage, down: pan(0, 40) },
      { keys: ["ArrowDown"], inside: onStage, down: pan(0, -40) },
    ];

    /** Hold b in any mode: blink as long as it is down. */
    function hidden(down) {
      if (down && state.mode !== "blink") set({ mode: "blink" });
      showHeld(down);
    }

    function showTile(box) {
      stage.view.show(box);
      state.zoom = stage.view.scale;
      stage.draw();
      changed();
    }
  };

  /** The marked tile in image pixels, or null. */
  function tileOf(root) {
    const rect = root.querySelector(".tile rect");
    if (!rect) return null;
    const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(rect.getAttribute(name)));
    return { x, y, width, height };
  }
})();
