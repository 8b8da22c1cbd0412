import { z } from 'zod'
import type { Lab } from './lab.ts'

export interface SampleService {
  name: string
  upstream: string
}

const WhoAmI = z.object({ name: z.string() })

/** The lab's upstreams by the names that they give themselves. */
export async function sampleServices(lab: Lab): Promise<SampleService[]> {
  return Promise.all(
    lab.upstreams.map(async (upstream) => ({ name: upstreamName(await (await fetch(`${upstream}/whoami`)).text()), upstream })),
  )
}

/** Which upstream answered /whoami. Throws when the answer is not one of an upstream. */
export const upstreamName = (answer: string): string => WhoAmI.parse(JSON.parse(answer)).name
