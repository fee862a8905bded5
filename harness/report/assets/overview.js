/* The first page: filters and sort kept in the address, j and k through the rows, what was decided so far. */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const list = document.querySelector("ol.lines");
  if (!list || !harness.rows) return; // an empty run has nothing to filter

  const lines = [...list.children];
  const chips = [...document.querySelectorAll("button[data-verdict]")];
  const picks = [...document.querySelectorAll("select[data-filter]")];
  const find = document.getElementById("find");
  const sort = document.getElementById("sort");
  const single = document.documentElement.dataset.page === "single";
  let shown = lines.map((_, row) => row);
  let current = -1;

  /** Show the rows that pass, in their order. */
  function apply() {
    const before = shown;
    shown = harness.select();
    const visible = new Set(shown);
    lines.forEach((line, row) => (line.hidden = !visible.has(row)));
    if (before.length !== shown.length || before.some((row, place) => row !== shown[place])) {
      list.append(...shown.map((row) => lines[row]));
    }
    document.getElementById("none").hidden = shown.length > 0;
    document.querySelector(".shown").textContent =
      shown.length === lines.length ? "" : `${shown.length} of ${lines.length} shown`;
    current = -1;
    linkWithQuery();
  }

  /** Rows carry the filters along, so that a case's page steps through the same rows. */
  function linkWithQuery() {
    if (single) return;
    const { rows } = harness;
    for (const row of shown) {
      lines[row].querySelector("a").href = `cases/${encodeURIComponent(rows.slug[row])}.html${location.search}`;
    }
  }

  /** Take the controls' state into the address and show what passes. */
  function changed() {
    const pressed = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true");
    const verdict = pressed.map((chip) => chip.dataset.verdict).join(",");
    const picked = Object.fromEntries(picks.map((pick) => [pick.dataset.filter, pick.value]));
    harness.remember({ verdict, text: find.value.trim(), sort: sort.value, ...picked });
    apply();
  }

  /** Set the controls from the address. */
  function recall() {
    const query = harness.query();
    const verdicts = (query.get("verdict") ?? "").split(",");
    for (const chip of chips) chip.setAttribute("aria-pressed", verdicts.includes(chip.dataset.verdict));
    for (const pick of picks) pick.value = query.get(pick.dataset.filter) ?? "";
    find.value = query.get("text") ?? "";
    sort.value = query.get("sort") ?? "";
    apply();
  }

  /** Fill the choices of a column that holds more than one value. */
  function fill(pick) {
    const values = harness.rows[pick.dataset.filter].values;
    const sorted = [...values].sort((a, b) => (a === null) - (b === null) || (a < b ? -1 : 1));
    for (const value of sorted) pick.append(new Option(value ?? "none", String(value)));
    pick.parentElement.hidden = values.length < 2;
    pick.addEventListener("change", changed);
  }

  /** Move the focus by some rows. */
  function move(by) {
    if (!shown.length) return;
    current = Math.min(shown.length - 1, Math.max(0, current + by));
    const link = lines[shown[current]].querySelector("a");
    link.focus({ preventScroll: true });
    lines[shown[current]].scrollIntoView({ block: "nearest" });
  }

  function clear() {
    for (const chip of chips) chip.setAttribute("aria-pressed", false);
    for (const control of [...picks, find, sort]) control.value = "";
    changed();
  }

  /** Say at each row what was decided, and how many are. */
  function showReview() {
    const all = harness.decisions();
    const { slug } = harness.rows;
    const count = { accept: 0, reject: 0 };
    lines.forEach((line, row) => {
      const decision = all[slug[row]]?.decision;
      if (decision) count[decision] += 1;
      const old = line.querySelector(".decided");
      if (!decision) return old?.remove();
      const mark = old ?? line.querySelector("div").appendChild(harness.element("span", { className: "decided" }));
      mark.textContent = `${decision}ed`;
    });
    document.querySelector(".review-bar").hidden = Object.keys(all).length === 0;
    document.getElementById("reviewed").textContent = `Reviewed: ${count.accept} accepted, ${count.reject} rejected`;
  }

  for (const chip of chips) {
    chip.disabled = false;
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
      changed();
    });
  }
  picks.forEach(fill);
  find.addEventListener("input", changed);
  sort.addEventListener("change", changed);
  document.getElementById("clear").addEventListener("click", clear);
  document.querySelector(".finders").hidden = false;

  const reviewer = document.getElementById("reviewer");
  document.getElementById("export").addEventListener("click", () => harness.exportReview(reviewer.value.trim()));
  document.getElementById("forget").addEventListener("click", () => {
    if (confirm("Discard every decision and note of this run?")) harness.forgetDecisions();
  });
  for (const event of ["review", "storage", "pageshow"]) addEventListener(event, showReview);

  harness.bindOverview = () => harness.bind([
    { keys: ["j", "ArrowDown"], says: "next case", down: () => move(1) },
    { keys: ["k", "ArrowUp"], says: "previous case", down: () => move(-1) },
    { keys: ["Enter"], says: "open the case", down: () => (current < 0 ? false : lines[shown[current]].querySelector("a").click()), inside: (target) => !target.matches("button, a") },
    { keys: ["/"], says: "search", down: () => find.focus() },
    { keys: ["1", "2", "3", "4", "5"], says: "show only that verdict, or all again", down: (event) => chips[event.key - 1]?.click() },
    { keys: ["Escape"], says: "show all", down: clear },
  ]);
  harness.bindOverview();
  recall();
  showReview();
})();
