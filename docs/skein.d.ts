// What a Skein workflow script sees besides the ECMAScript library. For editors: a line
// `/// <reference path="skein.d.ts" />` at the top of the script, and "lib": ["ES2024"], "types": [] in jsconfig.json.
// `Date.now()`, `new Date()`, `Date()` and `Math.random()` throw: use `now()` and `random()`.

/** Something that survives JSON: what `args`, options, schemas, answers and results are made of. */
type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A JSON Schema, draft 2020-12, or draft-07 when its `$schema` says so. */
type JsonSchema = { [keyword: string]: unknown };

/** The literal that a script begins with: `export const meta = {…}`. It is read and never evaluated. */
interface WorkflowMeta {
  name: string;
  description: string;
  /** For people and models that choose a workflow. */
  whenToUse?: string;
  phases?: { title: string; detail?: string; model?: string }[];
}

/** The second argument of `agent`. An unknown key is a warning; with `--strict` it throws. */
interface AgentOptions {
  /** The name people see. Default: the first 60 characters of the prompt. */
  label?: string;
  /** The group of this agent only. Default: the current `phase()`. */
  phase?: string;
  /** With a schema the agent answers with a value that fits it. null and false are none. */
  schema?: JsonSchema | null | false;
  /** Default: that of the definition, then `--model`. */
  model?: string;
  /** Recorded; nothing acts on it yet. */
  effort?: "low" | "medium" | "high" | "xhigh" | "max";
  /** The name of an agent definition. An unknown one throws. */
  agentType?: string;
  /** Each attempt in a fresh git worktree of the project, kept when something was changed in it. */
  isolation?: "worktree";
  /**
   * Milliseconds without progress (a program that writes nothing) after which an attempt ends and another begins, 0 for
   * never. Six such attempts, and the call rejects. Default: 180000.
   */
  stallMs?: number;
  /** Only the worker with this host label. When there is none the agent is null. */
  host?: string;
  /** A named pool of workers. When nobody serves it the agent is null. */
  pool?: string;
  /** `"90s"`, `"5m"` or milliseconds. Default: 30 minutes. */
  timeout?: string | number;
  /** More attempts after exit 75 or a lost worker, 0 to 10. Default: 2. */
  retries?: number;
  /** For agents that are models; recorded. */
  tools?: string[];
  /** For agents that are models; recorded. */
  disallowedTools?: string[];
  /** For agents that are models; recorded. */
  maxTurns?: number;
  /** What carries the agent out. `llm` and `cli` are not there yet. Default: the definition's, then `--runner`. */
  runner?: "llm" | "cli" | "command" | "simulated";
  /** 0 to 9; of the agents that wait the highest starts first. Default: 5. */
  priority?: number;
}

/**
 * Starts an agent. null when it ended without an answer; the run goes on. Rejects when it must not start: an empty
 * prompt, a bad option, an unknown type, a spent budget, the cap of agents (`WorkflowAgentCapError`), a stopped run; and
 * when all attempts stalled, or five answers did not fit the schema.
 */
declare function agent<T = unknown>(
  prompt: unknown,
  options: AgentOptions & { schema: JsonSchema },
): Promise<T | null>;
declare function agent(prompt: unknown, options?: AgentOptions): Promise<string | null>;

/**
 * Calls all functions at once and waits for all of them. Values are in input order; a slot that throws is null.
 * At most 4096. Functions, not promises: `() => agent(…)`.
 */
declare function parallel<T>(thunks: readonly (() => T | PromiseLike<T>)[]): Promise<(T | null)[]>;

/** A step of `pipeline`: what the step before gave, the item it began with, and its place. null ends the item. */
type Stage<Previous, Item, Next> = (previous: Previous, item: Item, index: number) => Next | PromiseLike<Next>;

/**
 * Sends each item through the stages alone, without waiting for the others. An item whose stage gives null or throws
 * is null and its later stages do not run. At most 4096 items.
 */
declare function pipeline<I>(items: readonly I[]): Promise<I[]>;
declare function pipeline<I, A>(items: readonly I[], a: Stage<NonNullable<I>, I, A>): Promise<(A | null)[]>;
declare function pipeline<I, A, B>(
  items: readonly I[],
  a: Stage<NonNullable<I>, I, A>,
  b: Stage<Exclude<A, null>, I, B>,
): Promise<(B | null)[]>;
declare function pipeline<I, A, B, C>(
  items: readonly I[],
  a: Stage<NonNullable<I>, I, A>,
  b: Stage<Exclude<A, null>, I, B>,
  c: Stage<Exclude<B, null>, I, C>,
): Promise<(C | null)[]>;
declare function pipeline<I>(items: readonly I[], ...stages: Stage<any, I, any>[]): Promise<any[]>;

/**
 * Runs another workflow inside this one and gives its result, as JSON: a saved one by its name, or a file below the
 * project or the script's folder. It has its own `args` and shares agents, budget and caps; its agents are in the group
 * `▸ name`. Rejects when there is none of that name, when it does not parse (`SyntaxError`), with the error it did not
 * catch, and inside of such a workflow.
 */
declare function workflow<T = any>(nameOrRef: string | { scriptPath: string }, args?: unknown): Promise<T>;

/** Starts a group: agents that follow belong to it. */
declare function phase(title: string): void;

/** Writes one line to the run's log: strings as they are, the rest as JSON. */
declare function log(...values: unknown[]): void;

/** What the run was given, or undefined. Keys of an object are variables too. */
declare const args: any;

/** The tokens of the run. */
declare const budget: {
  /** null without `--budget`. */
  readonly total: number | null;
  /** Tokens of the results this script has seen. */
  spent(): number;
  /** `Infinity` without `--budget`. */
  remaining(): number;
};

/** The journal's time of the event that started this turn, in milliseconds since 1970. */
declare function now(): number;

/** A number from 0 up to but not including 1, the same one when the run is replayed. */
declare function random(): number;

/** A journalled timer of at most 24 hours; it fires after a crash too. */
declare function setTimeout<A extends unknown[]>(callback: (...values: A) => void, ms?: number, ...values: A): number;

declare function clearTimeout(timer: number | undefined): void;

/** All go to the run's log; `warn` and `error` begin the line with `[warn] ` and `[error] `. */
declare const console: {
  log(...values: unknown[]): void;
  info(...values: unknown[]): void;
  debug(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
};

declare function structuredClone<T>(value: T): T;

declare class TextEncoder {
  readonly encoding: string;
  encode(text?: string): Uint8Array;
}

declare class TextDecoder {
  constructor(label?: string);
  readonly encoding: string;
  readonly ignoreBOM: boolean;
  decode(bytes?: ArrayBuffer | ArrayBufferView): string;
}

declare class URL {
  constructor(url: string, base?: string);
  hash: string;
  host: string;
  hostname: string;
  href: string;
  readonly origin: string;
  password: string;
  pathname: string;
  port: string;
  protocol: string;
  search: string;
  /** Not there yet: reading it throws. Split `search` instead. */
  readonly searchParams: never;
  username: string;
  toString(): string;
  toJSON(): string;
}
