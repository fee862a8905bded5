/*
 * Review: a decision and a note per row, kept in this browser and exported as JSON for `harness apply-review`.
 * Each holds the hashes of what was looked at, so that it cannot be applied to something else.
 */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const { name, created } = harness.rows?.run ?? {};
  const place = `harness review ${name} ${created}`;

  /** Everything decided in this run, by slug. */
  harness.decisions = () => {
    try {
      return JSON.parse(localStorage.getItem(place)) ?? {};
    } catch {
      return {}; // no storage, or not ours
    }
  };

  /** Keep one row's decision; one without decision and note is dropped. */
  harness.decide = (slug, entry) => {
    const all = harness.decisions();
    if (entry.decision || entry.note) all[slug] = entry;
    else delete all[slug];
    store(all);
  };

  harness.forgetDecisions = () => store({});

  function store(all) {
    try {
      localStorage.setItem(place, JSON.stringify(all));
    } catch {
      alert("This browser keeps nothing for pages from the disk; the review cannot be saved.");
    }
    dispatchEvent(new Event("review"));
  }

  /** The review as the text of a file. */
  harness.reviewFile = (reviewer) =>
    JSON.stringify({
      format: "harness-review/1",
      run: name,
      created,
      reviewer,
      exported: new Date().toISOString(),
      decisions: Object.values(harness.decisions()),
    }, null, 2) + "\n";

  /** Offer the review as a download. */
  harness.exportReview = (reviewer) => {
    const file = new Blob([harness.reviewFile(reviewer)], { type: "application/json" });
    const link = harness.element("a", { href: URL.createObjectURL(file), download: `${name}.review.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
})();
