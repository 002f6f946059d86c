// Elements. Every text becomes a text node, and a clean one: nothing from outside is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : clean(value));
  }
  const given = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...given.map((child) => (child instanceof Node ? child : clean(child))));
  return element;
}

function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function s(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

// Changes what differs only, so that a selection and a screen reader are left alone.
function say(element, text) {
  const wanted = clean(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

function byId(id) {
  return document.getElementById(id);
}

// Keeps one child for each item, by its id and in this order: made once, then updated.
function keyed(parent, items, make) {
  const known = (parent.known ??= new Map());
  const wanted = new Set(items.map((item) => item.id));
  for (const [id, child] of known) {
    if (!wanted.has(id)) {
      child.node.remove();
      known.delete(id);
    }
  }
  items.forEach((item, place) => {
    if (!known.has(item.id)) known.set(item.id, make(item));
    const child = known.get(item.id);
    if (parent.children[place] !== child.node) parent.insertBefore(child.node, parent.children[place] ?? null);
    child.update(item);
  });
}

// A name of somebody's choice.
function name(text) {
  return h("bdi", { class: "name" }, text);
}
