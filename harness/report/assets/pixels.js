/*
 * Pixel values. A page from the disk may not read the pixels of files, but of pictures in `data:` addresses it
 * may: the build writes the scored pair that way.
 */
"use strict";

(() => {
  const harness = (window.harness ??= {});

  /** Return a function from a pixel to the line that tells both images' values there. */
  harness.pixelReader = (preview, rerun) => {
    if (!preview.startsWith("data:") || !rerun.startsWith("data:")) {
      return (pixel) => (pixel ? `x ${pixel.x}, y ${pixel.y} (values of this case are not kept)` : "");
    }
    const images = [decoded(preview), decoded(rerun)];
    return (pixel) => {
      if (!pixel) return "";
      const [before, after] = images.map((read) => read(pixel));
      if (!before || !after) return "reading…";
      const largest = Math.max(...before.map((value, channel) => Math.abs(value - after[channel])));
      return `x ${pixel.x}, y ${pixel.y}: preview ${before.join(" ")}, re-run ${after.join(" ")}, largest difference ${largest}`;
    };
  };

  /** Decode an image once; the returned function gives the red, green and blue of a pixel, 0 to 255. */
  function decoded(address) {
    let data;
    const image = new Image();
    image.addEventListener("load", () => {
      const canvas = harness.element("canvas", { width: image.naturalWidth, height: image.naturalHeight });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      data = context.getImageData(0, 0, canvas.width, canvas.height);
    });
    image.src = address;
    return ({ x, y }) => data && [...data.data.slice(4 * (y * data.width + x), 4 * (y * data.width + x) + 3)];
  }
})();
