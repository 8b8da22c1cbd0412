/** Who goes first on a machine that has attacker and attacked on the same cores, and perhaps other work as well. */
import { writeFile } from 'node:fs/promises'
import type { Command } from '../../harness/world/tool.ts'

/**
 * Of what is measured. An attacker would have a machine of its own, and other work on this one is not to be taken for the attack.
 * Only root may go below 0: for others `nice` says so on stderr and runs the program all the same, and figures of a busy machine
 * are those of a busy machine.
 */
const MEASURED = '-10'

/** A program that is measured, or measures. */
export function measured({ file, args, ...rest }: Command): Command {
  return { ...rest, file: 'nice', args: ['-n', MEASURED, file, ...args] }
}

/** The same for a process that leads a session: where Linux shares the CPU between sessions, niceness counts within one only. */
export async function measureSession(leader: number): Promise<void> {
  // Without autogroups there is no such file, and without root no right to it.
  await writeFile(`/proc/${leader}/autogroup`, MEASURED).catch(() => undefined)
}
