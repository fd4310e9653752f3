/** Copies text, also on a page served without https, where the browser's clipboard is out of reach. */

/**
 * @param {string} value
 * @returns {Promise<boolean>} whether it is in the clipboard now
 */
export async function copyText(value) {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    return copyBySelection(value);
  }
}

/** @param {string} value */
function copyBySelection(value) {
  const box = document.createElement("textarea");
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  box.value = value;
  box.style.cssText = "position:fixed;top:0;left:-9999px";
  document.body.append(box);
  box.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    box.remove();
    focused?.focus();
  }
}
