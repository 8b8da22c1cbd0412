/** All cases, by area. */
import type { Case } from '../case.ts'
import { forwardAuth } from './auth.ts'
import { exposure } from './exposure.ts'
import { headers } from './headers.ts'
import { operation } from './operation.ts'
import { prefixes } from './prefixes.ts'
import { rules } from './rules.ts'
import { schema } from './schema.ts'
import { upstream } from './upstream.ts'

export const areas: Readonly<Record<string, readonly Case[]>> = {
  schema,
  rules,
  headers,
  prefixes,
  upstream,
  auth: forwardAuth,
  exposure,
  operation,
}
