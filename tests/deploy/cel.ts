/**
 * Rules of a CustomResourceDefinition (`x-kubernetes-validations`): type-checked against the schema, with
 * the functions that Kubernetes 1.31 has and flock uses and no others; an upper bound of their cost; and
 * what they say of a value.
 *
 * @module
 */
import { Environment } from "@marcbachmann/cel-js";
import { BlockList, isIP } from "node:net";
import type { OpenApi } from "./openapi.ts";

/** What an API server allows one rule, and all rules of a definition, to cost (estimated). */
export const MAX_RULE_COST = 10_000_000;
export const MAX_CRD_COST = 100_000_000;

/** The longest string and list that rules look at; the bound of cost takes every one for as long. */
const LONGEST_STRING = 64;
const LONGEST_LIST = 64;

/** As Go's netip sees them: no zone, no IPv4-mapped IPv6. */
class Ip {
  constructor(readonly text: string) {
    if (!isAddress(text)) throw new Error(`"${text}" is no address`);
  }
  get family(): "ipv4" | "ipv6" {
    return isIP(this.text) === 4 ? "ipv4" : "ipv6";
  }
  in(...prefixes: string[]): boolean {
    return prefixes.some((prefix) => new Cidr(prefix).contains(this));
  }
}

class Cidr {
  readonly ip: Ip;
  readonly length: number;
  constructor(text: string) {
    if (!isPrefix(text)) throw new Error(`"${text}" is no prefix`);
    const [address = "", length] = text.split("/");
    this.ip = new Ip(address);
    this.length = Number(length);
  }
  contains(ip: Ip): boolean {
    const list = new BlockList();
    list.addSubnet(this.ip.text, this.length, this.ip.family);
    return this.ip.family === ip.family && list.check(ip.text, ip.family);
  }
}

function isAddress(text: string): boolean {
  return isIP(text) !== 0 && !/%|^::ffff:/i.test(text);
}

function isPrefix(text: string): boolean {
  const [address = "", length = "", ...more] = text.split("/");
  return more.length === 0 && isAddress(address) && /^(0|[1-9]\d{0,2})$/.test(length) &&
    Number(length) <= (isIP(address) === 4 ? 32 : 128);
}

/** Not unspecified, loopback, link-local, multicast or broadcast. */
function isGlobalUnicast(ip: Ip): boolean {
  const v4 = ["0.0.0.0/32", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"];
  return !ip.in(...v4, "::/128", "::1/128", "fe80::/10", "ff00::/8");
}

function environment(): Environment {
  return new Environment()
    .registerType("IP", { ctor: Ip, fields: {} })
    .registerType("CIDR", { ctor: Cidr, fields: {} })
    .registerFunction("isIP(string): bool", isAddress)
    .registerFunction("isCIDR(string): bool", isPrefix)
    .registerFunction("ip(string): IP", (text: string) => new Ip(text))
    .registerFunction("cidr(string): CIDR", (text: string) => new Cidr(text))
    .registerFunction("IP.family(): int", (ip: Ip) => ip.family === "ipv4" ? 4n : 6n)
    .registerFunction("IP.isUnspecified(): bool", (ip: Ip) => ip.in("0.0.0.0/32", "::/128"))
    .registerFunction("IP.isGlobalUnicast(): bool", isGlobalUnicast)
    .registerFunction("CIDR.ip(): IP", ({ ip }: Cidr) => ip)
    .registerFunction("CIDR.prefixLength(): int", ({ length }: Cidr) => BigInt(length))
    .registerFunction("CIDR.containsIP(IP): bool", (prefix: Cidr, ip: Ip) => prefix.contains(ip));
}

/** What is wrong with a rule where `schema` is: it does not compile, or is not a question. */
export function ruleProblem(rule: string, schema: OpenApi): string | undefined {
  const env = environment();
  const type = celType(env, schema, "Self");
  const checked = env.registerVariable("self", type).check(rule);
  if (!checked.valid) return checked.error?.message.split("\n")[0] ?? "invalid";
  return String(checked.type) === "bool" ? undefined : `it is ${checked.type}, not bool`;
}

/** The type of a node, as the API server declares it. */
function celType(env: Environment, schema: OpenApi, name: string): string {
  switch (schema.type) {
    case "integer":
      return "int";
    case "boolean":
      return "bool";
    case "array":
      return `list<${celType(env, schema.items!, `${name}Item`)}>`;
    case "object": {
      const fields = Object.entries(schema.properties ?? {}).map(([field, property]) => [
        // Reserved words of CEL are written so.
        /^(import|namespace)$/.test(field) ? `__${field}__` : field,
        celType(env, property, `${name}_${field}`),
      ]);
      env.registerType(name, { fields: Object.fromEntries(fields) });
      return name;
    }
    default:
      return "string";
  }
}

/**
 * More than the API server's estimate of a rule: every node of the expression costs what the dearest can (a
 * walk over two of the longest strings, at a tenth per character, or over a string and an expression of its
 * own length for `matches`), every list is the longest.
 */
export function costBound(rule: string): number {
  const dearest = rule.includes(".matches(")
    ? 1 + (LONGEST_STRING * 0.1) * (rule.length * 0.25)
    : 1 + 2 * LONGEST_STRING * 0.1;
  return weightOf(environment().registerVariable("self", "dyn").parse(rule).ast) * dearest;
}

function weightOf(node: unknown): number {
  if (Array.isArray(node)) return node.reduce<number>((sum, one) => sum + weightOf(one), 0);
  if (typeof node !== "object" || node === null || !("op" in node)) return 0;
  const { op, args } = node as { op: string; args: unknown };
  const [name] = Array.isArray(args) ? args : [];
  const loops = op === "rcall" && /^(all|exists|exists_one|map|filter)$/.test(String(name));
  return 1 + weightOf(args) * (loops ? LONGEST_LIST : 1);
}

/** The messages of the rules that a value breaks, with where. */
export function brokenRules(schema: OpenApi, value: unknown, path: string): string[] {
  if (value === undefined) return [];
  const broken = (schema["x-kubernetes-validations"] ?? [])
    .filter(({ rule }) => !holds(rule, value))
    .map(({ message }) => `${path}: ${message}`);
  const inner = Array.isArray(value)
    ? value.flatMap((item, i) => brokenRules(schema.items!, item, `${path}[${i}]`))
    : Object.entries(schema.properties ?? {}).flatMap(([name, property]) =>
      brokenRules(property, Reflect.get(value as object, name), `${path}.${name}`)
    );
  return [...broken, ...inner];
}

/** A rule that fails to be evaluated refuses the object, as one that does not hold. */
function holds(rule: string, self: unknown): boolean {
  try {
    const env = environment().registerVariable("self", "dyn");
    return env.evaluate(rule, { self: withBigInts(self) }) === true;
  } catch {
    return false;
  }
}

/** CEL's integers are not JavaScript's numbers. */
function withBigInts(value: unknown): unknown {
  if (Number.isInteger(value)) return BigInt(value as number);
  if (Array.isArray(value)) return value.map(withBigInts);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [name, withBigInts(field)]),
  );
}
