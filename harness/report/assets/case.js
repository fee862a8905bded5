/* One case: its viewer, the way to the next one, its review, and the recipe's copy button. */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const single = document.documentElement.dataset.page === "single";

  /** The address of a row's page from here, with the filters and the way of looking kept. */
  harness.addressOf = (row) => {
    const name = encodeURIComponent(harness.rows.slug[row]);
    return single ? `${location.search}#${name}` : `${name}.html${location.search}`;
  };

  /** Bring an article to life. */
  harness.startCase = (article) => {
    const keys = harness.startViewer(article);
    const steps = startSteps(article);
    const review = startReview(article);
    const sheet = article.querySelector(".sheet-link");
    startCopy(article);
    harness.bind([
      { keys: ["j"], says: "next case", down: () => steps.go(1) },
      { keys: ["k"], says: "previous case", down: () => steps.go(-1) },
      ...keys,
      { keys: ["a"], says: "accept", down: () => review("accept") },
      { keys: ["x"], says: "reject", down: () => review("reject") },
      { keys: ["n"], says: "write a note", down: () => article.querySelector("textarea").focus() },
      { keys: ["s"], says: sheet && "all variants of this case", down: () => sheet?.click() },
      { keys: ["u", "Escape"], says: "all cases", down: () => article.querySelector(".back").click() },
    ]);
  };

  /** Links to the rows before and after this one among those that pass the filters. */
  function startSteps(article) {
    const rows = harness.select();
    const here = rows.findIndex((row) => harness.rows.slug[row] === article.dataset.slug);
    const links = { "-1": article.querySelector(".previous"), 1: article.querySelector(".next") };
    const back = article.querySelector(".back");
    const home = back.getAttribute("href");

    function link() {
      for (const [by, anchor] of Object.entries(links)) {
        const row = rows[here + Number(by)];
        if (here < 0 || row === undefined) anchor.removeAttribute("href");
        else anchor.href = harness.addressOf(row);
      }
      back.href = single ? `${location.search || location.pathname}#` : home + location.search;
    }

    article.querySelector(".place").textContent = here < 0 ? "" : `${here + 1} of ${rows.length}`;
    article.querySelector(".moves").hidden = false;
    link();
    addEventListener("viewed", link);
    return { go: (by) => links[by].hasAttribute("href") && links[by].click() };
  }

  /** Decision and note, kept as they change; returns a function that toggles a decision. */
  function startReview(article) {
    const { slug, key, rerun, variant } = article.dataset;
    const section = article.querySelector(".review");
    const note = section.querySelector("textarea");
    const buttons = [...section.querySelectorAll("[data-decision]")];
    let decision = harness.decisions()[slug]?.decision ?? null;
    note.value = harness.decisions()[slug]?.note ?? "";

    function show() {
      for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.decision === decision);
    }
    function keep() {
      const entry = { case: article.dataset.case, variant, decision, note: note.value.trim(), key, rerun_sha256: rerun || null };
      harness.decide(slug, entry);
      show();
    }
    function toggle(wanted) {
      if (!buttons.some((button) => button.dataset.decision === wanted)) return; // it cannot be accepted
      decision = decision === wanted ? null : wanted;
      keep();
    }
    for (const button of buttons) button.addEventListener("click", () => toggle(button.dataset.decision));
    note.addEventListener("input", keep);
    section.hidden = false;
    show();
    return toggle;
  }

  /** Buttons that copy the text before them. */
  function startCopy(article) {
    for (const button of article.querySelectorAll(".copy")) {
      button.hidden = false;
      button.addEventListener("click", () => copy(button, button.previousElementSibling));
    }
  }

  async function copy(button, text) {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text); // not allowed: left selected, to be copied by hand
      button.textContent = "Selected";
    }
  }

  if (!single) harness.startCase(document.querySelector("article.case"));
})();
