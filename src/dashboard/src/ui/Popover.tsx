import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

interface Props {
  readonly label: string;
  readonly children: ComponentChildren;
}

/** A button that opens a panel under it; a click elsewhere or Escape closes it. */
export function Popover({ label, children }: Props) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!open) return;
    const onPress = (event: Event) => box.current?.contains(event.target as Node) || setOpen(false);
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      button.current?.focus();
    };
    document.addEventListener("pointerdown", onPress);
    document.addEventListener("keydown", onKey);
    return () => {
      document.removeEventListener("pointerdown", onPress);
      document.removeEventListener("keydown", onKey);
    };
  }, [open]);
  return (
    <div class="popover" ref={box}>
      <button type="button" class="toggle" aria-expanded={open} ref={button} onClick={() => setOpen(!open)}>
        {label}
      </button>
      {open && <div class="panel">{children}</div>}
    </div>
  );
}
