/**
 * Texts that outsiders might write, and whether one of them had its way.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

/** What breaks out of BIRD's configuration, a batch for `ip`, a shell, a path or a line. */
export const HOSTILE = [
  "}",
  "; }\nprotocol kernel { }",
  "x\nlink add evil0 type veth peer name evil1",
  "x;touch /tmp/flock-evil;$(touch /tmp/flock-evil)`touch /tmp/flock-evil`",
  "../../../etc/passwd",
  "'\"\\#",
  "\u202e\u00e9\ud83d\udca5",
];
/** What no environment variable can hold, but JSON can. */
export const NUL = "a\u0000b";
export const HUGE = "x".repeat(1 << 20);
/** The kernel takes no longer variable (MAX_ARG_STRLEN is 128 KiB). */
export const LONG = "x".repeat(100_000);

/** Nothing that a hostile text would have started has run. */
export async function assertNoTrace(): Promise<void> {
  const evil = await Deno.lstat("/tmp/flock-evil").catch(() => undefined);
  assertEquals(evil, undefined);
}
