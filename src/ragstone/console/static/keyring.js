/** The API key: in this tab's session storage, and nowhere else. */

import { askForKey } from "./dialogs.js";

const NAME = "ragstone.key";

/**
 * @param {(present: boolean) => void} onChange
 * @returns {import("./api.js").Keyring & {change: () => Promise<boolean>}}
 */
export function createKeyring(onChange) {
  let key = stored();
  /** @type {Promise<boolean>|null} One dialog, however many requests were refused. */
  let asking = null;
  /** How often somebody was asked and had no key. */
  let declined = 0;

  /** @param {string} reason */
  async function ask(reason) {
    const typed = await askForKey(reason);
    if (typed === null) {
      declined += 1;
      return false;
    }
    key = typed;
    store(typed);
    onChange(true);
    return true;
  }

  /** @param {string} reason */
  function askOnce(reason) {
    asking ??= ask(reason).finally(() => {
      asking = null;
    });
    return asking;
  }

  onChange(key !== null);
  return {
    attempt() {
      const [sent, before] = [key, declined];
      return {
        key: sent,
        async renew(reason) {
          if (key !== sent) return true;
          // Asked meanwhile, for another request: once is enough.
          if (declined !== before) return false;
          return askOnce(sent ? `That key was not accepted. ${reason}` : reason);
        },
      };
    },
    change: () => askOnce("Another key replaces the one in use."),
  };
}

function stored() {
  try {
    return sessionStorage.getItem(NAME);
  } catch {
    return null;
  }
}

/** @param {string} key */
function store(key) {
  try {
    sessionStorage.setItem(NAME, key);
  } catch {
    // It then lasts as long as the page.
  }
}
