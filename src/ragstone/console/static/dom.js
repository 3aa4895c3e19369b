/** Building elements. Text only ever enters the page as text nodes. */

/** @typedef {Node|string|null|undefined|false} Child */

/**
 * @typedef {Record<string, string|number|boolean|null|undefined>} Attributes
 * `true` sets an empty attribute; `false`, `null` and `undefined` leave it out.
 */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  append(node, ...children);
  return node;
}

/**
 * @param {Node} parent
 * @param {...Child} children
 */
export function append(parent, ...children) {
  for (const child of children) {
    if (child === false || child === null || child === undefined) continue;
    parent.appendChild(typeof child === "string" ? document.createTextNode(child) : child);
  }
}

/**
 * Makes `nodes` the children of `parent`. Those that are there already and in order are not touched:
 * they keep the focus, and a press that has begun on them becomes a click.
 *
 * @param {HTMLElement} parent
 * @param {readonly HTMLElement[]} nodes
 */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (child instanceof HTMLElement && !wanted.has(child)) child.remove();
  nodes.forEach((node, at) => {
    const present = parent.children[at];
    if (present !== node) parent.insertBefore(node, present ?? null);
  });
}

/**
 * A button that does something here, as opposed to sending a form.
 *
 * @param {Attributes} attributes
 * @param {(event: MouseEvent) => void} action
 * @param {...Child} children
 * @returns {HTMLButtonElement}
 */
export function button(attributes, action, ...children) {
  const node = element("button", { type: "button", ...attributes }, ...children);
  node.addEventListener("click", action);
  return node;
}

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const node = document.getElementById(id);
  if (!(node instanceof type)) throw new Error(`The page has no ${type.name} #${id}.`);
  return node;
}
