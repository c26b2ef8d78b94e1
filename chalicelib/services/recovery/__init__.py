"""What would be left of what runs if its Region were lost: gathers what is known of each image.

Nothing is written or announced here; what follows is `domain/recovery`. Begin with `find_readiness.py`.
"""
