/** What the hypervisor of a virtual machine gave to others: a run with much of it tells less. */
import { readFile } from 'node:fs/promises'
import { type MachineTime, parseMachineTime } from './procfs.ts'

export async function readMachineTime(): Promise<MachineTime> {
  return parseMachineTime(await readFile('/proc/stat', 'utf8'))
}

/** Of the machine's time between two looks, how much was stolen, from 0 to 1. null when no time has passed. */
export function stolenShare(before: MachineTime, after: MachineTime): number | null {
  const seconds = after.seconds - before.seconds
  return seconds > 0 ? (after.stolenSeconds - before.stolenSeconds) / seconds : null
}
