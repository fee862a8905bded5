/* The single file: cases lie in templates, and the address after # says which one is open. */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const overview = document.getElementById("overview");
  const opened = document.getElementById("opened");

  function show() {
    const name = decodeURIComponent(location.hash.slice(1));
    const template = name && document.getElementById(name);
    const isCase = template instanceof HTMLTemplateElement;
    opened.replaceChildren(...(isCase ? [template.content.cloneNode(true)] : []));
    overview.hidden = isCase;
    if (!isCase) return harness.bindOverview?.();
    harness.startCase(opened.querySelector("article.case"));
    scrollTo(0, 0);
  }

  addEventListener("hashchange", show);
  show();
})();
