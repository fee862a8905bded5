/* The sweep of one case: keys through the prints of the contact sheet. */
"use strict";

(() => {
  const harness = (window.harness ??= {});

  /** Bring a sweep's article to life. */
  harness.startSweep = (article) => {
    const prints = [...article.querySelectorAll(".sheet a")];
    const move = (by) => () => {
      const here = prints.indexOf(document.activeElement);
      const next = prints[Math.min(prints.length - 1, Math.max(0, here + by))];
      next?.focus({ preventScroll: true });
      next?.closest("li").scrollIntoView({ block: "nearest" });
    };
    harness.bind([
      { keys: ["j", "ArrowRight"], says: "next variant, from the nearest to the preview on", down: move(1) },
      { keys: ["k", "ArrowLeft"], says: "previous variant", down: move(-1) },
      { keys: ["Enter"], says: "compare it with the preview", down: () => false },
      { keys: ["u", "Escape"], says: "all cases", down: () => article.querySelector(".back").click() },
    ]);
  };

  if (document.documentElement.dataset.page === "sweep") harness.startSweep(document.querySelector("article"));
})();
