/** The client that attacks: a node of the tailnet, which is a client from the internet as well. */
import { execa } from 'execa'
import * as z from 'zod'
import { type Command, startTool } from '../../harness/world/tool.ts'
import { Shape, type Way } from './results.ts'

/** An attack as `tsnsrv-bench attacks` lists it. */
export const Attack = z.object({
  name: z.string(),
  about: z.string(),
  count: z.number().int().describe('Openings, unless told otherwise.'),
})
export type Attack = z.infer<typeof Attack>

/** Whom and how. */
export interface Assault {
  readonly attack: string
  readonly via: Way
  /** Openings; the attack's own number without it. */
  readonly count?: number | undefined
  /** Addresses of the internet that they come from. */
  readonly clients: number
}

/** Services by their names, and "host:port" of the lab's relay for port 443 of Funnel. */
export interface Targets {
  readonly secure: string
  readonly plain: string
  readonly funnelAddress: string
}

export interface Attacker {
  /** Makes the openings over `spreadMs`, and resolves then, or when `timeoutMs` are over. They last until `release`. */
  attack(assault: Assault, spreadMs: number, timeoutMs: number): Promise<void>
  /** What has become of them by now. */
  look(): Promise<Shape[]>
  release(): Promise<void>
  stop(): Promise<void>
}

const Looked = z.looseObject({ shapes: z.array(Shape) })

/** All attacks that the tool knows. */
export async function listAttacks(bench: string): Promise<Attack[]> {
  const { stdout } = await execa(bench, ['attacks'])
  return stdout.split('\n').map((line) => Attack.parse(JSON.parse(line)))
}

/** Joins the tailnet; `command` starts `tsnsrv-bench client`. */
export async function joinAttacker(command: Command, targets: Targets): Promise<Attacker> {
  const tool = await startTool(command)
  return {
    async attack(assault, spreadMs, timeoutMs) {
      await tool.ask({ do: 'attack', ...targets, ...assault, spreadMs, timeoutMs }, timeoutMs)
    },
    look: async () => Looked.parse(await tool.ask({ do: 'look' }, 0)).shapes,
    async release() {
      await tool.ask({ do: 'release' }, 0)
    },
    stop: () => tool.stop(),
  }
}
