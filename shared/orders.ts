/**
 * The orders of the admin API: `POST /v1/<verb>?<parameters>` on the supervisor's socket. Client, server and the operator's
 * port derive from this table: a new order is a row here, a function in supervisor/core/orders.ts, and a command.
 *
 * Every parameter has to be given, once, and there are no others: an order that was meant in another way is refused (400).
 * 409 says that it cannot be carried out; nothing has changed then.
 */
import * as z from 'zod'
import { Decision, UpgradeResult } from './api.ts'

/** A parameter of a query. */
export interface Parameter<T> {
  /** What it has to be, in words. */
  readonly wanted: string
  /** What the text means; undefined when it is none. */
  readonly read: (text: string) => T | undefined
}

const Service: Parameter<string> = { wanted: 'the name of a service', read: (text) => text || undefined }

/** A number of a shard, or of shards. */
export const Count: Parameter<number> = {
  wanted: 'a whole number from 1',
  read: (text) => (/^[1-9]\d{0,5}$/.test(text) ? Number(text) : undefined),
}

export const Flag: Parameter<boolean> = {
  wanted: 'true or false',
  read: (text) => (text === 'true' || text === 'false' ? text === 'true' : undefined),
}

const countOr = <Word extends string>(word: Word): Parameter<number | Word> => ({
  wanted: `${Count.wanted}, or "${word}"`,
  read: (text) => (text === word ? word : Count.read(text)),
})

/** A row: what the order does, what it takes, and what it answers. */
const order = <Takes extends Readonly<Record<string, Parameter<unknown>>>, Answers extends z.ZodType>(
  does: string,
  takes: Takes,
  answers: Answers,
) => ({ does, takes, answers })

const Nothing = z.object({})

export const orders = {
  move: order(
    'Moves one service, and pins it there. The move is in the journal.',
    { service: Service, to: countOr('new') },
    Decision,
  ),
  pin: order('Keeps a service in its shard, whatever load and groups ask for.', { service: Service }, Nothing),
  unpin: order('Lets a service be moved again without an order.', { service: Service }, Nothing),
  rebalance: order('Decides on the newest samples, without regard to cooldowns and budget.', { dryRun: Flag }, Decision),
  drain: order('Cordons a shard, and moves its services to others.', { shard: Count }, Decision),
  cordon: order('Lets nothing new into a shard.', { shard: Count }, Nothing),
  uncordon: order('Lets services into a shard again.', { shard: Count }, Nothing),
  scale: order(
    'Sets how many shards there are; auto: as many as the load wants. Answers with what the next look would decide.',
    { shards: countOr('auto') },
    Decision,
  ),
  'upgrade-workers': order('Replaces workers of another version; with all, every worker.', { all: Flag }, UpgradeResult),
  pause: order('Stops automatic rebalancing. Other orders are still taken.', {}, Nothing),
  resume: order('Lets automatic rebalancing go on.', {}, Nothing),
  release: order('Starts a quarantined service, alone in a shard.', { service: Service }, Nothing),
} as const

export type Verb = keyof typeof orders

type Takes<V extends Verb> = (typeof orders)[V]['takes']

/** The parameters of an order. */
export type Given<V extends Verb> = {
  readonly [Name in keyof Takes<V>]: Takes<V>[Name] extends Parameter<infer T> ? T : never
}

export type Answer<V extends Verb> = z.infer<(typeof orders)[V]['answers']>

export function isVerb(word: string): word is Verb {
  return Object.hasOwn(orders, word)
}

/** Reads parameters from a query, or says what is wrong with it. */
export function readParameters(
  query: URLSearchParams,
  takes: Readonly<Record<string, Parameter<unknown>>>,
): { readonly given: Readonly<Record<string, unknown>> } | { readonly problem: string } {
  const unknown = [...query.keys()].find((name) => !Object.hasOwn(takes, name))
  if (unknown !== undefined) {
    const known = Object.keys(takes)
    return {
      problem: `there is no parameter ${unknown}; ${known.length === 0 ? 'it takes none' : `it takes ${known.join(', ')}`}`,
    }
  }
  const given: Record<string, unknown> = {}
  for (const [name, { wanted, read }] of Object.entries(takes)) {
    const [text, second] = query.getAll(name)
    if (text === undefined) return { problem: `${name} is missing: ${wanted}` }
    if (second !== undefined) return { problem: `${name} is given twice` }
    given[name] = read(text)
    if (given[name] === undefined) return { problem: `${name} is ${wanted}, not "${text}"` }
  }
  return { given }
}
