/** Questions to begin with, for the collections that come with Ragstone. */

/** @type {Record<string, readonly string[]>} */
const EXAMPLES = {
  help: [
    "How long do I have to return something?",
    "What does delivery cost?",
    "How do I wash a wool jumper?",
    "Can I return a sale item to a shop?",
  ],
  products: [
    "A summer dress for a garden party that isn't too floral",
    "A warm wool coat in navy",
    "A linen tablecloth for a large table",
  ],
};

/**
 * @param {string|null} collection
 * @returns {readonly string[]}
 */
export function examplesFor(collection) {
  return (collection !== null && EXAMPLES[collection]) || [];
}
