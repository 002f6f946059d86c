// Elements. Every text becomes a text node, and a clean one: nothing from outside is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

// given: attributes, where it begins with an object of them, and children.
function filled(element, classes, given) {
  const attributes = given[0]?.constructor === Object ? given.shift() : {};
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : clean(value));
  }
  const children = given.flat().filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...children.map((child) => (child instanceof Node ? child : clean(child))));
  return element;
}

// h("td.n.dim", "12") is a cell of the classes n and dim.
function h(name, ...given) {
  const [tag, ...classes] = name.split(".");
  return filled(document.createElement(tag), classes, given);
}

function s(tag, ...given) {
  return filled(document.createElementNS(SVG, tag), [], given);
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
  return h("bdi.name", text);
}
