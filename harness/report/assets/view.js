/* The geometry of looking: one scale and one offset that all panes share, in step. Knows nothing of the page. */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const STEPS = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32];

  /** A picture of `image` pixels behind a port of `port` CSS pixels. */
  harness.View = class {
    constructor(image) {
      this.image = image;
      this.port = { width: image.width, height: image.height };
      this.scale = 1;
      this.x = 0; // of the picture's left edge in the port
      this.y = 0;
    }

    /** The scale at which all of the picture is seen. */
    get fit() {
      return Math.min(this.port.width / this.image.width, this.port.height / this.image.height);
    }

    /** One to one where that fits, else all of it. */
    get initial() {
      return Math.min(1, this.fit);
    }

    /** Change the scale; the point (x, y) of the port stays where it is. */
    zoom(scale, x = this.port.width / 2, y = this.port.height / 2) {
      const clamped = Math.min(32, Math.max(Math.min(0.1, this.fit), scale));
      this.x = x - ((x - this.x) * clamped) / this.scale;
      this.y = y - ((y - this.y) * clamped) / this.scale;
      this.scale = clamped;
      this.settle();
    }

    /** The next scale up (1) or down (-1). */
    step(direction) {
      const above = STEPS.find((step) => step > this.scale * 1.001);
      const below = STEPS.findLast((step) => step < this.scale * 0.999);
      return (direction > 0 ? above : below) ?? this.scale;
    }

    pan(byX, byY) {
      this.x += byX;
      this.y += byY;
      this.settle();
    }

    /** Bring the middle of a box of image pixels to the middle of the port, as large as it can be. */
    show(box) {
      const scale = Math.min(this.port.width / box.width, this.port.height / box.height) * 0.9;
      this.scale = scale >= 1 ? Math.min(32, Math.floor(scale)) : scale;
      this.x = this.port.width / 2 - (box.x + box.width / 2) * this.scale;
      this.y = this.port.height / 2 - (box.y + box.height / 2) * this.scale;
      this.settle();
    }

    /** Keep the picture in the port: in its middle where it is smaller, without a gap where it is larger. */
    settle() {
      this.x = settled(this.x, this.image.width * this.scale, this.port.width);
      this.y = settled(this.y, this.image.height * this.scale, this.port.height);
    }

    /** The image pixel under a point of the port, or null beside the picture. */
    pixel(x, y) {
      const column = Math.floor((x - this.x) / this.scale);
      const row = Math.floor((y - this.y) / this.scale);
      const inside = column >= 0 && row >= 0 && column < this.image.width && row < this.image.height;
      return inside ? { x: column, y: row } : null;
    }
  };

  function settled(offset, size, port) {
    if (size <= port) return Math.round((port - size) / 2);
    return Math.round(Math.min(0, Math.max(port - size, offset)));
  }
})();
