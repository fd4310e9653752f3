/** The library list: pages of the current query, fetched when they come near, and the scan. */

/** @import { Api } from "../api.mjs" */
/** @import { Store } from "../store.mjs" */
/** @import { Adapter, AdapterPage, LibraryInfo, Query, State } from "../types.mjs" */
import { PER_PAGE } from "../grid.mjs";
import { newJob } from "../jobs.mjs";
import { createLatest, debounce } from "../timing.mjs";

const SEARCH_DELAY_MS = 150;

/** @param {{ store: Store<State>, api: Api }} parts */
export function createLibrary({ store, api }) {
  const ask = createLatest();
  const askInfo = createLatest();
  /** Pages being fetched or failed, of the epoch that is shown. @type {Set<number>} */
  let taken = new Set();
  /** What the shown pages answer; the box may already hold the next question. @type {Query} */
  let shown = store.get().query;

  /** @param {Query} query @param {number} page @returns {Promise<AdapterPage>} */
  const fetchPage = (query, page) =>
    api.get("/adapters", {
      search: query.search.trim(),
      sort: query.sort,
      active_only: query.activeOnly || null,
      page,
      per_page: PER_PAGE,
    });

  /** @param {Partial<State["list"]>} patch */
  const setList = (patch) => store.set(({ list }) => ({ list: { ...list, ...patch } }));

  /** Asks the current query anew; the old answer stays in sight until the new one is there. */
  async function load() {
    const isNewest = ask();
    const { query } = store.get();
    setList({ status: "loading", problem: null });
    try {
      const answer = await fetchPage(query, 1);
      if (!isNewest()) return;
      shown = query;
      taken = new Set();
      setList({
        status: "ready",
        epoch: store.get().list.epoch + 1,
        total: answer.total,
        filtered: answer.filtered,
        pages: new Map([[1, answer.items]]),
      });
    } catch (error) {
      if (isNewest()) setList({ status: "error", problem: /** @type {Error} */ (error) });
    }
  }

  /** @param {number} page */
  async function loadPage(page) {
    const { epoch } = store.get().list;
    const mine = taken;
    mine.add(page);
    try {
      const answer = await fetchPage(shown, page);
      const { list } = store.get();
      if (list.epoch !== epoch) return;
      setList({ pages: new Map(list.pages).set(page, answer.items) });
      mine.delete(page);
    } catch (error) {
      // It stays taken, so that drawing the list again does not ask again by itself.
      if (store.get().list.epoch === epoch) setList({ problem: /** @type {Error} */ (error) });
    }
  }

  /** Makes sure that these pages are there or on their way. @param {number[]} pages */
  function ensure(pages) {
    const { list } = store.get();
    for (const page of pages) if (!list.pages.has(page) && !taken.has(page)) void loadPage(page);
  }

  async function loadInfo() {
    const isNewest = askInfo();
    try {
      /** @type {LibraryInfo} */
      const info = await api.get("/library");
      if (!isNewest()) return;
      store.set(({ scan }) => ({ library: { info }, scan: { ...scan, jobId: info.scanning_job_id ?? scan.jobId } }));
    } catch {
      // The list says what is wrong with the server; the counts are not worth a second line.
    }
  }

  async function scan() {
    store.set({ scan: { jobId: null, problem: null } });
    try {
      const { job_id: id } = await api.post("/library/scan");
      store.set(({ jobs }) => ({
        scan: { jobId: id, problem: null },
        jobs: jobs[id] ? jobs : { ...jobs, [id]: newJob(id, { kind: "library.scan" }) },
      }));
    } catch (error) {
      store.set({ scan: { jobId: null, problem: /** @type {Error} */ (error) } });
    }
  }

  const loadSoon = debounce(load, SEARCH_DELAY_MS);

  return {
    load,
    loadInfo,
    ensure,
    scan,
    /** After a page failed. */
    retry() {
      taken = new Set();
      if (store.get().list.status === "error") void load();
      else setList({ problem: null });
    },
    /** @param {string} search */
    search(search) {
      store.set(({ query }) => ({ query: { ...query, search } }));
      loadSoon();
    },
    /** @param {Partial<Query>} patch */
    ask(patch) {
      store.set(({ query }) => ({ query: { ...query, ...patch } }));
      loadSoon.cancel();
      void load();
    },
    /** Puts a record's new state wherever the list shows it. @param {Adapter} adapter */
    replace(adapter) {
      const { list } = store.get();
      for (const [number, items] of list.pages) {
        const at = items.findIndex(({ id }) => id === adapter.id);
        if (at < 0) continue;
        setList({ pages: new Map(list.pages).set(number, items.map((item, i) => (i === at ? adapter : item))) });
        return;
      }
    },
  };
}
