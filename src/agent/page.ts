/**
 * The page that shows the node, for `flock status --html` and for `/` beside the metrics. Whoever asks
 * while it is being made gets the same one: it costs a few processes.
 *
 * @module
 */
import type { Page } from "../core/inspection.ts";
import { type PageInput, renderPage } from "../core/page.ts";
import {
  allocationsOf,
  anycastOf,
  type InspectOptions,
  peersOf,
  routesOf,
  statusOf,
} from "./inspect.ts";
import type { Operation } from "./server.ts";

/** Makes the page. */
export type MakePage = () => Promise<string>;

/** All that the page shows. */
export async function inspectAll(options: InspectOptions): Promise<Omit<PageInput, "at">> {
  const [status, peers, anycast, routes] = await Promise.all([
    statusOf(options),
    peersOf(options),
    anycastOf(options),
    routesOf(options),
  ]);
  return { status, peers, anycast, routes, allocations: allocationsOf(options) };
}

/** A maker of the page of what is looked at when it is asked for. */
export function createPage(look: () => Promise<Omit<PageInput, "at">>, now: () => Date): MakePage {
  let making: Promise<string> | undefined;
  const make = async (): Promise<string> => {
    try {
      return renderPage({ at: now().toISOString(), ...await look() });
    } finally {
      making = undefined;
    }
  };
  return () => making ??= make();
}

/** The operation. */
export function pageOperations(makePage: MakePage): Readonly<Record<string, Operation>> {
  return { page: async (): Promise<Page> => ({ kind: "Page", html: await makePage() }) };
}
