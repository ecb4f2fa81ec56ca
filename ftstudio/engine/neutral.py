"""Prompts that have nothing to do with any task, on which a tuned model should still say what its base said."""

PROMPTS = (
    "The capital of France is Paris, and the river that runs through it is called the Seine.",
    "Water boils at one hundred degrees, and it freezes at zero.",
    "Please write a short letter to a friend who has moved to another town.",
    "What is the difference between a lake and a sea?",
    "She opened the window, looked at the street and saw that it had begun to rain.",
    "Two and two are four, three times three are nine, and half of ten is five.",
    "How do I cook rice so that it does not stick to the pot?",
    "The train leaves at eight in the morning and arrives in the evening of the same day.",
    "Once upon a time there was an old man who lived alone in a house near the woods.",
    "To open the file, click on its name, then choose where it is to be saved.",
    "Thank you very much for your help. I will let you know when the parcel has come.",
    "Spring comes after winter, and summer comes after spring.",
)
