/** What is known of services that end their workers: what culprit.ts decides on, and what has to outlive the supervisor. */

/** The end of a worker that was not told to end, with the services that it had. */
export interface Death {
  readonly shard: number
  /** Epoch ms. */
  readonly at: number
  readonly services: readonly string[]
  readonly why: string
}

export interface JudgedDeath extends Death {
  /** The search that its shard was part of; null for none. */
  readonly search: number | null
  /** Another worker lived through it: without one nobody can tell a culprit from a machine that ends all workers. */
  readonly witnessed: boolean
}

export interface Quarantine {
  /** Epoch ms. */
  readonly since: number
  /** Why, for the operator, in a sentence. */
  readonly reason: string
  /** Of the configuration that ended workers: another one is given a chance. */
  readonly specHash: string
}

/** What has to outlive the supervisor. */
export interface Culprits {
  /** The latest ends, oldest first. */
  readonly deaths: readonly JudgedDeath[]
  /** Shards that are part of a search, each with its name: epoch ms of its beginning. They get nothing new. */
  readonly suspects: ReadonlyMap<number, number>
  /** Services that are kept off. They have no place. */
  readonly quarantine: ReadonlyMap<string, Quarantine>
}

export const noCulprits: Culprits = { deaths: [], suspects: new Map(), quarantine: new Map() }
