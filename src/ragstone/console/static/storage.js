/** Small choices kept in the browser. Where storage is forbidden they last as long as the page. */

/**
 * @param {string} name
 * @param {string} value
 */
export function remember(name, value) {
  try {
    localStorage.setItem(`ragstone.${name}`, value);
  } catch {
    // Only a convenience is lost.
  }
}

/**
 * @param {string} name
 * @returns {string|null}
 */
export function remembered(name) {
  try {
    return localStorage.getItem(`ragstone.${name}`);
  } catch {
    return null;
  }
}
