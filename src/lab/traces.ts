/**
 * What is left of a lab: the look by which the demo and the tests convince themselves that nothing is.
 *
 * @module
 */
import { runCommand } from "../io/command.ts";
import { LAB_ROOT } from "./reaper.ts";

/**
 * Namespaces, directory and processes of a lab, one text each; empty when nothing is left.
 *
 * @param id the lab's name
 */
export async function tracesOf(id: string): Promise<readonly string[]> {
  // Processes that carry the lab's mark, and those with its name in an argument: reaper, BIRD, agents.
  const script = `
    for f in "/run/netns/$1-"* "$2/$1"; do [ -e "$f" ] && echo "$f"; done
    grep -lazE "$1(-|/|$)" /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null |
      while IFS=/ read -r _ _ pid _; do
        command=$(tr '\\0\\n' '  ' 2>/dev/null <"/proc/$pid/cmdline")
        case $command in
          "" | "grep -lazE"* | *" flock-lab-traces "*) ;; # ended meanwhile, or this very look
          *) echo "process $pid: $command" ;;
        esac
      done
    true`;
  const { stdout } = await runCommand("sh", ["-c", script, "flock-lab-traces", id, LAB_ROOT]);
  return [...new Set(stdout.split("\n").filter((line) => line !== ""))];
}
