/** Line icons on a grid of 24, drawn in the colour of the text around them. */

const PATHS = {
  send: "M12 19V5m-6 6 6-6 6 6",
  stop: "M7.5 7.5h9v9h-9z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zm0-5v2m0 14v2M3 12h2m14 0h2M5.6 5.6 7 7m10 10 1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4",
  moon: "M20 14.5A8 8 0 0 1 9.5 4a8 8 0 1 0 10.5 10.5z",
  key: "M14.5 4a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM10.6 13.4 4 20m2.5-2.5L9 20",
  close: "M6 6l12 12M18 6 6 18",
  trash: "M5 7h14M10 7V5h4v2m-7.5 0 1 12h9l1-12M10.5 11v5m3-5v5",
  upload: "M12 15.5V5m-4.5 4L12 4.5 16.5 9M5 15v4h14v-4",
  document: "M7 3.5h7l4 4v13H7zM14 3.5v4h4M10 12h5m-5 3.5h5",
  copy: "M9 9h10v11H9zM6 15H5V4h10v2",
  retry: "M5 12a7 7 0 1 0 2.3-5.2M5 4.5V9h4.5",
  alert: "M12 4 2.8 19.5h18.4zM12 10v4m0 2.7v.1",
  info: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 11v5.5m0-8.6v.1",
  check: "m5 12.5 4.5 4.5L19 7.5",
  plus: "M12 5v14M5 12h14",
};

/** @typedef {keyof typeof PATHS} IconName */

/**
 * @param {IconName} name
 * @returns {SVGSVGElement} Hidden from screen readers: what it stands for is said in text.
 */
export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
