/**
 * How the page's answers are drawn where a conversation sets nothing: bold enough to vary, the unlikely left out, what
 * was said already a little less likely, or a small model says it again and again; and ended, since it may never come to
 * an end (the page offers to go on). Shared with the page, whose sliders rest here, and with `jackdaw chat`.
 */
export const PAGE_SAMPLING = { temperature: 0.7, topP: 0.9, repetitionPenalty: 1.05, maxNewTokens: 1024 } as const
