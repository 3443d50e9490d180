/**
 * How the page's answers are drawn where a conversation sets nothing: bold enough to vary, the unlikely left out; and
 * ended, since a small model may never come to an end. Shared with the page, whose sliders rest here.
 */
export const PAGE_SAMPLING = { temperature: 0.7, topP: 0.9, maxNewTokens: 2048 } as const
