/** One line at the bottom: the connection, what the library holds, what runs in the background. */

import { html } from "../../vendor/htm-preact.mjs";
import { useStore } from "../context.mjs";
import { age } from "../format.mjs";
import { text } from "../text.mjs";
import { ProgressBar } from "./basics.mjs";
import { Icon } from "./icons.mjs";

const { status: words } = text;

export function StatusLine() {
  const connection = useStore((state) => state.connection);
  const info = useStore((state) => state.library.info);
  const active = useStore((state) => state.active.items.length);
  const said = useStore((state) => state.said);
  return html`
    <div class="lm-status" role="contentinfo" data-testid="lm-status" aria-label=${words.label}>
      <span class="lm-connection" role="status" data-testid="lm-connection" data-state=${connection}>
        <span class="lm-dot" aria-hidden="true"></span>${words.connection[connection]}
      </span>
      <${ScanProgress} />
      ${info &&
      html`
        <span>${words.total(info.total)}</span>
        <span>${words.active(active)}</span>
        ${info.unreadable > 0 && html`<span class="lm-trouble">${words.unreadable(info.unreadable)}</span>`}
        ${info.missing > 0 && html`<span class="lm-trouble">${words.missing(info.missing)}</span>`}
        ${info.last_scan && html`<span class="lm-quiet-line">${words.lastScan(age(info.last_scan, Date.now()))}</span>`}
        ${info.roots
          .filter(({ ok }) => !ok)
          .map(
            ({ path, problem }) => html`<span class="lm-trouble lm-ellipsis" key=${path} title=${path}>
              <${Icon} name="alert" />${words.folderProblem(path, problem ?? "")}
            </span>`,
          )}
      `}
      <span class="lm-for-readers" role="status" aria-live="polite">${said}</span>
    </div>
  `;
}

function ScanProgress() {
  const job = useStore(({ jobs, scan }) =>
    Object.values(jobs).find(
      ({ id, kind, status }) =>
        (kind === "library.scan" || id === scan.jobId) && (status === "queued" || status === "processing"),
    ),
  );
  if (!job) return null;
  return html`
    <span class="lm-scan-progress" role="status">
      <span>${job.message ?? words.scanning}</span>
      <${ProgressBar}
        label=${words.scanning}
        value=${job.status === "processing" && job.progress > 0 ? job.progress : null}
        testid="lm-scan-progress"
      />
    </span>
  `;
}
