#!/usr/bin/env node
import { answer, serve, wellBehaved } from './base.mjs'

serve({ ...wellBehaved, put: (response) => answer(response, 400, { reason: 'InvalidSpec', message: 'I do not like it' }) })
