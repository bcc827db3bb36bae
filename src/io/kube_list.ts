/**
 * Lists of the API server, read in pages: a page is forgotten before the next one comes.
 *
 * @module
 */
import { isFields } from "../core/node_config_problems.ts";
import type { KubeClient } from "./kube_client.ts";

/** Objects in one page of a list. */
const PAGE_SIZE = 500;
/** Milliseconds one page may take: it can be megabytes. */
const PAGE_TIMEOUT_MS = 30_000;

/** A part of a list. */
export interface KubePage {
  readonly items: readonly unknown[];
  /** `resourceVersion` of the whole list. */
  readonly version: string;
}

/** The pages of the list at a path of the API server: `/api/v1/pods`. */
export async function* listPages(
  client: KubeClient,
  { path, fieldSelector, pageSize = PAGE_SIZE, signal }: {
    readonly path: string;
    readonly fieldSelector?: string;
    /** Objects in one page; 500 unless told. */
    readonly pageSize?: number;
    readonly signal: AbortSignal;
  },
): AsyncGenerator<KubePage, void, void> {
  let next: string | undefined;
  do {
    const raw = await client.json({
      path,
      query: { fieldSelector, limit: String(pageSize), continue: next },
      signal,
      timeoutMs: PAGE_TIMEOUT_MS,
    });
    const page = pageOf(raw, path);
    yield page;
    next = page.next;
  } while (next !== undefined);
}

function pageOf(raw: unknown, path: string): KubePage & { readonly next: string | undefined } {
  const metadata = isFields(raw) ? raw.metadata : undefined;
  if (!isFields(raw) || !isFields(metadata) || typeof metadata.resourceVersion !== "string") {
    throw new TypeError(`Cannot list "${path}": the answer is no list`);
  }
  // Go writes an empty list as null.
  const items = raw.items ?? [];
  if (!Array.isArray(items)) throw new TypeError(`Cannot list "${path}": the answer has no items`);
  const next = typeof metadata.continue === "string" ? metadata.continue : "";
  return { items, version: metadata.resourceVersion, next: next === "" ? undefined : next };
}
