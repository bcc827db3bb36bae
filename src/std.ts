/**
 * The functions of the Deno standard library that flock uses, with their types. Its npm build has no
 * declarations: everything from it is `any`, so each function is given its type here, once.
 *
 * @module
 */
import { parseAll } from "@std/yaml";
import { stringify } from "@std/yaml/stringify";

/**
 * Parses every document of a YAML stream. JSON is YAML.
 *
 * @throws {SyntaxError} when the text is not YAML; the message names line and column.
 */
export const parseYamlDocuments: (text: string) => unknown[] = parseAll;

/** Renders a value as one YAML document, long lines unbroken. */
export function renderYaml(value: unknown): string {
  return stringifyYaml(value, { lineWidth: -1, useAnchors: false });
}

const stringifyYaml: (
  value: unknown,
  options: { readonly lineWidth: number; readonly useAnchors: boolean },
) => string = stringify;
