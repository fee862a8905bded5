/*
 * Which rows are shown, and in which order: worked out from the page's address alone, so that a link keeps it
 * and the page of a case steps through the same rows as the list that it was opened from.
 *
 *   ?verdict=drift,error&job=…&lora=…&step=…&variant=…&text=flower&sort=ssim
 */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  const CODED = ["job", "lora", "step", "variant"];

  /** Where the address keeps its query: pages opened from the disk have one as well. */
  harness.query = () => new URLSearchParams(location.search);

  /** Replace the query without a new entry in the history; empty values are left out. */
  harness.remember = (changes) => {
    const query = harness.query();
    for (const [name, value] of Object.entries(changes)) {
      if (value === "" || value === null || value === undefined) query.delete(name);
      else query.set(name, value);
    }
    const search = query.toString();
    history.replaceState(history.state, "", `${location.pathname}${search && `?${search}`}${location.hash}`);
  };

  /** The value of a coded column at one row. */
  const at = (column, row) => column.values[column.at[row]];

  /** Everything that the search looks through, lower case, made once. */
  let texts;
  function text(row) {
    const { rows } = harness;
    texts ??= rows.case.map((name, place) =>
      `${name}\n${at(rows.variant, place)}\n${rows.reason[place]}\n${at(rows.prompt, place)}`.toLowerCase());
    return texts[row];
  }

  const ORDERS = {
    case: (rows) => (a, b) => compare(rows.case[a], rows.case[b]),
    step: (rows) => (a, b) => number(at(rows.step, a)) - number(at(rows.step, b)),
    ssim: (rows) => (a, b) => number(rows.ssim[a]) - number(rows.ssim[b]),
    lpips: (rows) => (a, b) => number(rows.lpips[b], -1) - number(rows.lpips[a], -1),
    psnr: (rows) => (a, b) => number(rows.psnr[a]) - number(rows.psnr[b]),
  };
  const number = (value, absent = Infinity) => value ?? absent;
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

  /** The numbers of the rows that pass, in order; rows lie worst first. */
  harness.select = (query = harness.query()) => {
    const { rows } = harness;
    const verdicts = (query.get("verdict") ?? "").split(",").filter(Boolean);
    const wanted = (query.get("text") ?? "").trim().toLowerCase();
    const filters = CODED.filter((name) => query.has(name)).map((name) => [rows[name], query.get(name)]);
    const passing = rows.slug
      .map((_, row) => row)
      .filter((row) => !verdicts.length || verdicts.includes(at(rows.verdict, row)))
      .filter((row) => filters.every(([column, value]) => String(at(column, row)) === value))
      .filter((row) => !wanted || text(row).includes(wanted));
    const order = ORDERS[query.get("sort")]?.(rows);
    return order ? passing.sort((a, b) => order(a, b) || a - b) : passing;
  };
})();
