/** What components share: the time, the theme, whether something is in view, how large it is. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";
import type { Theme } from "../model/colours";
import { prefs } from "../state/prefs";
import { useStore } from "../state/store";

/** Wall time in milliseconds, renewed every `periodMs`; as it was at the last render for `null`. */
export function useNow(periodMs: number | null): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (periodMs === null) return;
    const timer = setInterval(() => setNow(Date.now()), periodMs);
    return () => clearInterval(timer);
  }, [periodMs]);
  return now;
}

const systemDark = matchMedia("(prefers-color-scheme: dark)");

/** The theme in force: the user's choice, else the system's. */
export function useTheme(): Theme {
  const chosen = useStore(prefs, (state) => state.theme);
  const [dark, setDark] = useState(systemDark.matches);
  useEffect(() => {
    const look = () => setDark(systemDark.matches);
    systemDark.addEventListener("change", look);
    return () => systemDark.removeEventListener("change", look);
  }, []);
  return chosen ?? (dark ? "dark" : "light");
}

/** Whether the element is on the screen or at most a screen away. */
export function useVisible(element: RefObject<HTMLElement | null>): boolean {
  const [visible, setVisible] = useState(false);
  useEffect(() => {
    if (element.current === null) return;
    const observer = new IntersectionObserver((entries) => setVisible(entries.at(-1)?.isIntersecting ?? false), {
      rootMargin: "600px",
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return visible;
}

/** Call `onResize` with the element's width and height in CSS pixels, at first and after every change. */
export function useResize(
  element: RefObject<HTMLElement | null>,
  onResize: (width: number, height: number) => void,
): void {
  const latest = useRef(onResize);
  latest.current = onResize;
  useEffect(() => {
    if (element.current === null) return;
    const observer = new ResizeObserver((entries) => {
      const box = entries.at(-1)?.contentRect;
      if (box !== undefined) latest.current(Math.floor(box.width), Math.floor(box.height));
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
}
