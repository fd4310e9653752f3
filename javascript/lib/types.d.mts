/** The shapes this page reads from the v1 API and keeps in its store. */

export interface Adapter {
  id: string;
  name: string;
  version?: string | null;
  description?: string | null;
  tags: string[];
  trained_words: string[];
  weight: number;
  weight_min?: number | null;
  weight_max?: number | null;
  active: boolean;
  ordinal?: number | null;
  favorite?: boolean;
  base_model?: string | null;
  network_type?: string | null;
  preview_url?: string | null;
  file_state?: "present" | "missing" | "changed" | null;
  file_problem?: string | null;
  prompt_name?: string | null;
  prompt_name_problem?: string | null;
}

export interface AdapterPage {
  items: Adapter[];
  total: number;
  filtered: number;
  page: number;
  pages: number;
  per_page: number;
}

export interface Warning {
  code: string;
  message: string;
  adapter_id?: string | null;
}

export interface ComposeAnswer {
  prompt: string;
  tokens: string[];
  warnings: (Warning | string)[];
}

export interface LibraryRoot {
  path: string;
  ok: boolean;
  problem?: string | null;
}

export interface LibraryInfo {
  roots: LibraryRoot[];
  total: number;
  unreadable: number;
  missing: number;
  last_scan?: string | null;
  scanning_job_id?: string | null;
}

export interface Backend {
  name: string;
  available: boolean;
  reason?: string | null;
  model?: string | null;
  default?: boolean;
  samplers?: string[] | null;
}

export interface FeedEvent {
  type: string;
  timestamp?: string;
  data: Record<string, unknown>;
}

export type JobStatus = "queued" | "processing" | "completed" | "failed" | "cancelled";

/** One background job as the feed tells it. `progress` is 0..1 and never falls. */
export interface Job {
  id: string;
  kind: string | null;
  status: JobStatus;
  progress: number;
  step: number | null;
  steps: number | null;
  etaS: number | null;
  message: string | null;
  preview: string | null;
  images: string[];
  error: string | null;
  info: unknown;
  durationS: number | null;
}

export type Jobs = Record<string, Job>;

export interface GenerationForm {
  prompt: string;
  negative_prompt: string;
  steps: number;
  width: number;
  height: number;
  seed: number;
  cfg_scale: number;
  sampler_name: string;
  backend: string;
}

export type SortKey = "name" | "created_at" | "updated_at" | "file_size";

export interface Query {
  search: string;
  sort: SortKey;
  activeOnly: boolean;
}

export type Loading = "idle" | "loading" | "ready" | "error";
export type Connection = "connecting" | "online" | "offline";
export type Pane = "library" | "set" | "generate";
export type PromptTarget = "control" | "text" | "image";

export interface State {
  inHost: boolean;
  pane: Pane;
  connection: Connection;
  auth: { needed: boolean; refused: boolean };
  library: { info: LibraryInfo | null };
  query: Query;
  list: {
    status: Loading;
    problem: Error | null;
    /** Of which query the pages below are; changes when they are replaced. */
    epoch: number;
    total: number;
    filtered: number;
    pages: Map<number, Adapter[]>;
  };
  active: { status: Loading; problem: Error | null; items: Adapter[] };
  compose: {
    status: Loading;
    problem: Error | null;
    prompt: string;
    tokens: string[];
    warnings: Warning[];
  };
  /** `hosted`: the switch governs SD.Next's own generations, not only this page's button. */
  injection: { hosted: boolean; enabled: boolean };
  form: GenerationForm;
  backends: { items: Backend[]; problem: Error | null };
  jobs: Jobs;
  generation: {
    jobId: string | null;
    starting: boolean;
    problem: Error | null;
    warnings: Warning[];
    /** The last job that ended with a picture. */
    shown: { job: Job; form: GenerationForm } | null;
  };
  scan: { jobId: string | null; problem: Error | null };
  promptTargets: PromptTarget[];
  /** What a screen reader is told about the last action. */
  said: string;
  /** What the last action of a person failed with, and how to try it again. */
  notice: { problem: Error; retry: (() => void) | null } | null;
}
