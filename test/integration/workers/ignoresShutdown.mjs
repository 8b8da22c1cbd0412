#!/usr/bin/env node
import { answer, serve, wellBehaved } from './base.mjs'

serve({ ...wellBehaved, shutdown: (response) => answer(response, 202, {}) })
