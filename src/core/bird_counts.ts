/**
 * How many routes each of BIRD's protocols has brought into its tables: the lines `Routes:` of `show
 * protocols all`, for protocols of every kind. The words are those of BIRD 2's nest/proto.c
 * (`channel_show_stats`).
 *
 * @module
 */
import { BirdCode, type BirdReply, parseProtocols } from "./bird_reply.ts";

/** Imported routes by the protocol's name, over all of its channels; 0 where none is up. */
export function parseImported(reply: BirdReply): ReadonlyMap<string, number> {
  const names = parseProtocols(reply).map(({ name }) => name);
  const imported = new Map(names.map((name) => [name, 0]));
  let n = -1;
  for (const { code, text } of reply.lines) {
    if (code === BirdCode.protocolList) n++;
    const name = names[n];
    const count = /^\s*Routes:\s+(\d+) imported\b/.exec(text)?.[1];
    if (name === undefined || count === undefined) continue;
    imported.set(name, (imported.get(name) ?? 0) + Number(count));
  }
  return imported;
}
