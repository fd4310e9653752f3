/** The page's button and heading, out of reach of SD.Next's translation of its own page. */

import { html } from "../../vendor/htm-preact.mjs";

/**
 * SD.Next looks at every `<button>`, `<h2>` and `<label><span>` of the page, and where the text is one of its own labels
 * ("Generate", "Copy") replaces it, and with it the nodes that Preact thinks it has. It compares `data-original`
 * where there is one; this value is no label of anybody's.
 */
const OURS = "lora-manager";

/** @param {{ children?: unknown, type?: "button" | "submit" } & Record<string, unknown>} props */
export const Button = ({ children, type = "button", ...props }) =>
  html`<button type=${type} data-original=${OURS} ...${props}>${children}</button>`;

/** @param {{ level: 1 | 2, class?: string, children?: unknown }} props */
export const Heading = ({ level, class: name = "", children }) =>
  html`<div role="heading" aria-level=${level} class=${`lm-heading ${name}`}>${children}</div>`;
