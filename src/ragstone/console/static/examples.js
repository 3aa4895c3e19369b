/** Questions to begin with, for the collections that come with Ragstone. */

/** @type {Record<string, readonly string[]>} */
const EXAMPLES = {
  help: [
    "How many days do I have to return a sale item?",
    "What does same-day delivery cost?",
    "How do I look after oiled oak furniture?",
    "Can I pay with a gift card in a store?",
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
