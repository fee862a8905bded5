/*
 * Keys: a page says which it answers to, `?` lists them. They rest while a field is being typed in.
 * All scripts of the report share the one global name `harness`.
 */
"use strict";

(() => {
  const harness = (window.harness ??= {});
  let bindings = [];
  let dialog;

  /** Answer to these keys from now on: a list of {keys: ["j"], says: "next", down(event), up(event)}. */
  harness.bind = (list) => {
    bindings = list;
    dialog?.remove();
    dialog = undefined;
    for (const button of document.querySelectorAll(".help")) button.hidden = false;
  };

  const typing = (target) => target.matches?.("input:not([type=range]), textarea, select");
  const modified = (event) => event.ctrlKey || event.metaKey || event.altKey;
  const find = (event) => bindings.find((binding) => binding.keys.includes(event.key));

  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && typing(event.target)) return event.target.blur();
    if (typing(event.target) || modified(event) || dialog?.open) return;
    if (event.key === "?") return showKeys();
    const binding = find(event);
    if (!binding || binding.inside?.(event.target) === false) return;
    if (binding.down(event) !== false) event.preventDefault();
  });

  addEventListener("keyup", (event) => find(event)?.up?.(event));
  addEventListener("click", ({ target }) => target.closest?.(".help, #keys") && showKeys());

  function showKeys() {
    dialog ??= document.body.appendChild(build());
    dialog.showModal();
  }

  function build() {
    const made = element("dialog", { className: "keys", ariaLabel: "Keys" });
    const list = element("dl");
    const told = bindings.filter((binding) => binding.says);
    for (const { keys, says } of [...told, { keys: ["?"], says: "this list" }]) {
      const term = element("dt");
      for (const key of keys) term.append(element("kbd", { textContent: names[key] ?? key }), " ");
      const row = element("div");
      row.append(term, element("dd", { textContent: says }));
      list.append(row);
    }
    const close = element("button", { type: "button", className: "quiet", textContent: "Close" });
    close.addEventListener("click", () => made.close());
    made.append(element("h2", { textContent: "Keys" }), list, close);
    return made;
  }

  const names = { Enter: "⏎ Enter", Escape: "Esc", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

  /** Return a new element with these properties. */
  const element = (tag, properties = {}) => Object.assign(document.createElement(tag), properties);
  harness.element = element;
})();
