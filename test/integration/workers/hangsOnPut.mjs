#!/usr/bin/env node
import { serve, wellBehaved } from './base.mjs'

serve({ ...wellBehaved, put: () => {} })
