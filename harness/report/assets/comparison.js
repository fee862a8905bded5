/* A page of comparisons: a viewer for each image; keys go to the one that was last pointed at or focused. */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const articles = [...document.querySelectorAll("article.compared")];
  const viewers = articles.map((article) => [article, harness.startViewer(article)]).filter(([, keys]) => keys.length);
  for (const [article, keys] of viewers) {
    for (const event of ["pointerenter", "focusin"]) article.addEventListener(event, () => harness.bind(keys));
  }
  if (viewers.length) harness.bind(viewers[0][1]);
})();
