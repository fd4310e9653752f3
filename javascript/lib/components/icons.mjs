/** The page's pictograms, drawn in the text's colour; decoration only, the words are elsewhere. */

import { html } from "../../vendor/htm-preact.mjs";

const PATHS = {
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14Zm5 12 4.5 4.5",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  check: "m5 12.5 4.5 4.5L19 7.5",
  up: "m6 14 6-6 6 6",
  down: "m6 10 6 6 6-6",
  grip: "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
  star: "m12 3.5 2.6 5.6 6.1.7-4.5 4.2 1.2 6L12 17l-5.4 3 1.2-6-4.5-4.2 6.1-.7Z",
  alert: "M12 8v5m0 3.5h.01M10.3 4 2.6 17.5A2 2 0 0 0 4.3 20.5h15.4a2 2 0 0 0 1.7-3L13.7 4a2 2 0 0 0-3.4 0Z",
  refresh: "M20 11a8 8 0 0 0-14.3-4L3.5 9.5M4 13a8 8 0 0 0 14.3 4l2.2-2.5M3.5 4.5v5h5M20.5 19.5v-5h-5",
  copy: "M9 9h10v11H9zM5 15V4h10",
  send: "M4 12h15m-6-6 6 6-6 6",
  swap: "M7 7h13m-3-3 3 3-3 3M17 17H4m3-3-3 3 3 3",
  shuffle: "M3.5 7h3L17 17h3.5m-3-3 3 3-3 3M3.5 17h3l3-3M14 10l3-3h3.5m-3-3 3 3-3 3",
  folder: "M3.5 6.5v11a1 1 0 0 0 1 1h15a1 1 0 0 0 1-1v-9a1 1 0 0 0-1-1H12l-2-2.5H4.5a1 1 0 0 0-1 1Z",
  layers: "m12 3.5 8.5 4.5-8.5 4.5L3.5 8Zm-8.5 9L12 17l8.5-4.5M3.5 16.5 12 21l8.5-4.5",
  spark: "M12 3.5 13.8 9.2 19.5 11 13.8 12.8 12 18.5 10.2 12.8 4.5 11 10.2 9.2ZM19 16v4M17 18h4",
};

/** @param {{ name: keyof typeof PATHS, filled?: boolean }} props */
export const Icon = ({ name, filled = false }) => html`
  <svg class="lm-icon" viewBox="0 0 24 24" width="18" height="18" aria-hidden="true" focusable="false">
    <path
      d=${PATHS[name]}
      fill=${filled ? "currentColor" : "none"}
      stroke="currentColor"
      stroke-width="1.8"
      stroke-linecap="round"
      stroke-linejoin="round"
    />
  </svg>
`;
