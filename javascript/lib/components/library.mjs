/** The library: the question (search, order, filter), the answer (cards), and what to do when there is none. */

/** @import { SortKey } from "../types.mjs" */
import { html, useEffect, useRef } from "../../vendor/htm-preact.mjs";
import { useApp, useStore } from "../context.mjs";
import { text } from "../text.mjs";
import { ErrorLine } from "./basics.mjs";
import { Button } from "./button.mjs";
import { Grid } from "./grid.mjs";
import { Icon } from "./icons.mjs";

const { library: words } = text;

export function Library() {
  const { library } = useApp();
  const list = useStore((state) => state.list);
  const scanProblem = useStore((state) => state.scan.problem);
  const first = list.status === "idle" || (list.status === "loading" && list.epoch === 0);
  const nothing = list.status === "ready" && list.filtered === 0;
  return html`
    <section class="lm-pane lm-pane-library" aria-label=${words.label}>
      <${Toolbar} />
      <${ErrorLine} problem=${scanProblem} onRetry=${library.scan} />
      <${ErrorLine} problem=${list.problem} onRetry=${library.retry} />
      <div class="lm-scroll" tabindex="-1">
        ${first && html`<p class="lm-loading" role="status"><span class="lm-spinner"></span>${words.loading}</p>`}
        ${nothing ? html`<${Nothing} />` : html`<${Grid} />`}
      </div>
    </section>
  `;
}

function Toolbar() {
  const { library } = useApp();
  const query = useStore((state) => state.query);
  const list = useStore((state) => state.list);
  const scanning = useScanning();
  const box = useRef(/** @type {HTMLInputElement | null} */ (null));
  useSearchKey(box);
  return html`
    <div class="lm-toolbar" role="search">
      <div class="lm-search">
        <${Icon} name="search" />
        <input
          ref=${box}
          type="search"
          class="lm-input"
          data-testid="lm-search"
          aria-label=${words.search}
          placeholder=${words.searchHint}
          title=${words.searchKey}
          autocomplete="off"
          spellcheck=${false}
          value=${query.search}
          onInput=${(/** @type {any} */ event) => library.search(event.currentTarget.value)}
          onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
            if (event.key === "Escape" && query.search) {
              event.stopPropagation();
              library.ask({ search: "" });
            }
          }}
        />
        ${query.search
          ? html`<${Button}
              class="lm-button lm-quiet lm-square"
              aria-label=${words.clearSearch}
              onClick=${() => {
                library.ask({ search: "" });
                box.current?.focus();
              }}
            >
              <${Icon} name="close" />
            <//>`
          : html`<kbd class="lm-key" aria-hidden="true">/</kbd>`}
      </div>
      <div class="lm-toolbar-row">
        <label class="lm-sort">
          <b class="lm-hidden-label">${words.sort}</b>
          <select
            class="lm-input"
            data-testid="lm-sort"
            value=${query.sort}
            onChange=${(/** @type {any} */ event) => library.ask({ sort: /** @type {SortKey} */ (event.currentTarget.value) })}
          >
            ${Object.entries(words.sorts).map(([key, name]) => html`<option value=${key} key=${key}>${name}</option>`)}
          </select>
        </label>
        <${Button}
          class="lm-button lm-chip"
          data-testid="lm-active-only"
          aria-pressed=${String(query.activeOnly)}
          onClick=${() => library.ask({ activeOnly: !query.activeOnly })}
        >
          ${words.activeOnly}
        <//>
        <span class="lm-count" aria-live="polite">
          ${list.epoch > 0 && words.shown(list.filtered, query.search || query.activeOnly ? Math.max(list.total, list.filtered) : list.filtered)}
        </span>
        <${Button}
          class="lm-button"
          data-testid="lm-scan"
          title=${words.scanHint}
          disabled=${scanning}
          onClick=${library.scan}
        >
          <span class=${scanning ? "lm-turning" : ""}><${Icon} name="refresh" /></span>${words.scan}
        <//>
      </div>
    </div>
  `;
}

/** What an empty answer means, and the next step out of it. */
function Nothing() {
  const { library } = useApp();
  const query = useStore((state) => state.query);
  const info = useStore((state) => state.library.info);
  const scanning = useScanning();
  if (query.search.trim()) {
    return html`<${Empty} icon="search" title=${words.nothingFound} next=${words.nothingFoundNext}>
      <${Button} class="lm-button" onClick=${() => library.ask({ search: "" })}>${words.clearSearch}<//>
    <//>`;
  }
  if (query.activeOnly) {
    return html`<${Empty} icon="layers" title=${words.nothingActive} next=${words.nothingActiveNext} />`;
  }
  if (scanning) return html`<${Empty} icon="refresh" title=${words.scanning} next="" />`;
  const roots = info?.roots ?? [];
  return html`
    <${Empty} icon="folder" title=${words.empty} next=${roots.length ? words.emptyNext : words.emptyNoRoots}>
      ${roots.length > 0 &&
      html`<ul class="lm-roots">
        ${roots.map(
          ({ path, ok, problem }) => html`
            <li key=${path}><code>${path}</code>${!ok && problem && html`<span class="lm-root-problem">${problem}</span>`}</li>
          `,
        )}
      </ul>`}
      <${Button} class="lm-button lm-primary" onClick=${library.scan}>${words.scan}<//>
    <//>
  `;
}

/** @param {{ icon: string, title: string, next: string, children?: unknown }} props */
const Empty = ({ icon, title, next, children }) => html`
  <div class="lm-empty" role="status">
    <span class="lm-empty-icon"><${Icon} name=${icon} /></span>
    <strong>${title}</strong>
    <p>${next}</p>
    ${children}
  </div>
`;

function useScanning() {
  return useStore(({ scan, jobs }) => scan.jobId !== null || Object.values(jobs).some(isScanning));
}

/** @param {import("../types.mjs").Job} job */
const isScanning = ({ kind, status }) => kind === "library.scan" && (status === "queued" || status === "processing");

/**
 * `/` goes to the search, from anywhere on the page that is not a text box, while the page is in sight.
 * @param {{ current: HTMLInputElement | null }} box
 */
function useSearchKey(box) {
  useEffect(() => {
    /** @param {KeyboardEvent} event */
    const onKey = (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !box.current?.offsetParent) return;
      const target = /** @type {HTMLElement} */ (event.target);
      if (target.isContentEditable || target.closest?.("input:not([type=range]), textarea, select")) return;
      event.preventDefault();
      box.current.focus();
      box.current.select();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}
