/** Where a run was made, in words. */
import type { Run } from '../../harness/results.ts'
import { formatNumber } from './format.ts'

export function formatMachine({ cpu, cores, memoryBytes, kernel }: Run['machine']): string {
  return `${cpu}, ${cores} cores, ${formatNumber(memoryBytes / 2 ** 30)} GiB, Linux ${kernel}`
}

export function formatVersions(versions: Run['versions']): string {
  return Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')
}
