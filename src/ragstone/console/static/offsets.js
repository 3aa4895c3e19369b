/**
 * The server counts characters as Unicode code points, JavaScript as UTF-16 code units. They
 * differ from the first emoji on, and a highlight would slip.
 */

const SURROGATE = /[\ud800-\udfff]/;

/**
 * @param {string} text
 * @param {number[]} codePoints Ascending offsets in code points.
 * @returns {number[]} The same offsets in code units, none beyond the end.
 */
export function codeUnitOffsets(text, codePoints) {
  if (!SURROGATE.test(text)) return codePoints.map((offset) => Math.min(offset, text.length));
  /** @type {number[]} */
  const found = [];
  let units = 0;
  let points = 0;
  for (const offset of codePoints) {
    while (points < offset && units < text.length) {
      units += (text.codePointAt(units) ?? 0) > 0xffff ? 2 : 1;
      points += 1;
    }
    found.push(units);
  }
  return found;
}
