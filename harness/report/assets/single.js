/* The single file: cases and sweeps lie in templates, and the address after # says which one is open. */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const overview = document.getElementById("overview");
  const opened = document.getElementById("opened");

  function show() {
    const name = decodeURIComponent(location.hash.slice(1));
    const template = name && document.getElementById(name);
    const isOpen = template instanceof HTMLTemplateElement;
    opened.replaceChildren(...(isOpen ? [template.content.cloneNode(true)] : []));
    overview.hidden = isOpen;
    if (!isOpen) return harness.bindOverview?.();
    const article = opened.querySelector("article");
    if (article.matches(".swept")) harness.startSweep(article);
    else harness.startCase(article);
    scrollTo(0, 0);
  }

  addEventListener("hashchange", show);
  show();
})();
